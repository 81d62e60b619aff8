"""The production server: processes, sockets and TLS."""
