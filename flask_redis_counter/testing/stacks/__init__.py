"""Stacks: services that run as containers or as processes."""
