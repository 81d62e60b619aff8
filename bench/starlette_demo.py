"""The same demo with Starlette and redis-py's asyncio client."""

import os

import redis.asyncio as redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

# Requests wait for a connection; the default pool raises an error beyond its limit.
pool = redis.BlockingConnectionPool(
    host=os.environ["REDIS_HOST"], port=int(os.environ["REDIS_PORT"]), max_connections=16
)
store = redis.Redis(connection_pool=pool)


async def count(request: Request) -> JSONResponse:
    """Count a visit."""
    return JSONResponse({"hits": await store.incr("starlette")})


app = Starlette(routes=[Route("/count", count)])
