"""Clients that count, the history of what they were told, and its check."""
