"""The command line program ``flask-redis-counter``."""
