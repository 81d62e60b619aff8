"""Hits: collected in batches, sent until they are answered, and each settled with its outcome."""
