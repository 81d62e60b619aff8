"""The service's pages and its API."""
