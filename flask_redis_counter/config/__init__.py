"""The settings: declarations, parsing, and hints about unknown names."""
