"""The classic demo of tutorials: Flask, redis-py and ``INCR``."""

import os

import redis
from flask import Flask

app = Flask(__name__)
store = redis.Redis(host=os.environ["REDIS_HOST"], port=int(os.environ["REDIS_PORT"]))


@app.route("/count")
def count() -> str:
    """Count a visit."""
    hits = store.incr("hits")
    return f"This page has been visited {hits} times."
