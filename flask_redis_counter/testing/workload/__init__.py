"""Clients that count hits, the history of their requests, and the checker of that history."""
