"""The same demo with FastAPI and redis-py's asyncio client."""

import os

import redis.asyncio as redis
from fastapi import FastAPI

app = FastAPI()
store = redis.Redis(host=os.environ["REDIS_HOST"], port=int(os.environ["REDIS_PORT"]))


@app.get("/count")
async def count() -> dict[str, int]:
    """Count a visit."""
    return {"hits": await store.incr("fastapi")}
