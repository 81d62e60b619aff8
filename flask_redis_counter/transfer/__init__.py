"""Export and import of whole counters."""
