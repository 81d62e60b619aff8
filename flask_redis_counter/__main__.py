"""Entry point of ``python -m flask_redis_counter``."""

from .cli.main import main

main(prog_name="flask-redis-counter")
