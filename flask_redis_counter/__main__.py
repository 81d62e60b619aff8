"""``python -m flask_redis_counter``."""

from .cli import main

main(prog_name="flask-redis-counter")
