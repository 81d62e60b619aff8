"""The store of all contestants: a Valkey server from a wheel."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from flask_redis_counter.testing import RedisServerProcess


@contextmanager
def running_store() -> Iterator[redis.Redis]:
    """Run an empty store on a free port of 127.0.0.1, with an append-only file."""
    with tempfile.TemporaryDirectory(prefix="bench-store-") as folder:
        server = RedisServerProcess(Path(folder), options=["--appendfsync", "everysec"])
        server.start()
        try:
            with redis.Redis(host="127.0.0.1", port=server.port) as client:
                yield client
        finally:
            server.stop()


def version(store: redis.Redis) -> str:
    """Return the server's name and version."""
    facts = store.info("server")
    return (
        f"{facts.get('server_name', 'redis')} {facts.get('valkey_version', facts['redis_version'])}"
    )
