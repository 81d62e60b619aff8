"""A guestbook: a small service, to be tested with the plugin."""

import os

import redis
from flask import Flask, jsonify, request

app = Flask(__name__)
store = redis.Redis(
    host=os.environ.get("REDIS_HOST", "redis"), socket_timeout=0.5, decode_responses=True
)


@app.errorhandler(redis.RedisError)
def store_unavailable(_error: redis.RedisError):
    """Return 503 if the store does not respond."""
    return jsonify(error="the guestbook is closed"), 503


@app.get("/healthz")
def healthz():
    """Return whether the store responds."""
    return jsonify(store.ping())


@app.post("/entries")
def sign():
    """Add an entry."""
    store.rpush("entries", request.get_data(as_text=True))
    return jsonify(ok=True), 201


@app.get("/entries")
def read():
    """List all entries."""
    return jsonify(store.lrange("entries", 0, -1))
