"""The HTTP service: its app, routes, fast path and production server."""
