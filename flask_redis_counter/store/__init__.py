"""The Redis-compatible server: connections, keys, scripts, commands and replies."""
