"""Stacks: services that run in containers or as processes."""
