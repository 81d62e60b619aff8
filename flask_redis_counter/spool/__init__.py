"""Hits kept on disk while the store is down, and replayed exactly once."""
