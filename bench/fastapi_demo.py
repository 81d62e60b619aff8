"""The same demo with FastAPI and redis-py's asyncio client."""

import os

import redis.asyncio as redis
from fastapi import FastAPI

app = FastAPI()
# Requests wait for a connection; the default pool raises an error beyond its limit.
pool = redis.BlockingConnectionPool(
    host=os.environ["REDIS_HOST"], port=int(os.environ["REDIS_PORT"]), max_connections=16
)
store = redis.Redis(connection_pool=pool)


@app.get("/count")
async def count() -> dict[str, int]:
    """Count a visit."""
    return {"hits": await store.incr("fastapi")}
