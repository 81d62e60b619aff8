"""Self-test of the store, the settings and the spool."""
