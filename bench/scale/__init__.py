"""Measures a cluster of one to three masters, and simulates larger ones."""
