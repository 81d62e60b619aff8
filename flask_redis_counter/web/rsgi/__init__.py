"""The RSGI application: hits on a fast path, and everything else through WSGI."""
