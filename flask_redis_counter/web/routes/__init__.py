"""Blueprints of the HTTP service."""
