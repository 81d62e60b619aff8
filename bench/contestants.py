"""The services that are compared, and their commands."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Contestant:
    """A service that counts hits.

    :ivar name: its name in the report.
    :ivar arguments: arguments of Python, with the placeholder ``{port}``.
    :ivar key: the Redis key of its count; None if it does not count.
    :ivar path: path that counts a hit.
    :ivar needs: a program that must be installed; None: only Python.
    """

    name: str
    arguments: str
    key: str | None
    path: str = "/count"
    needs: str | None = None

    @property
    def is_present(self) -> bool:
        """Whether the program that it needs is installed."""
        return self.needs is None or shutil.which(self.needs) is not None

    def command(self, port: int) -> list[str]:
        """Return the command that serves it on a port of 127.0.0.1."""
        return [sys.executable, *self.arguments.format(port=port).split()]


FLASK_RUN = Contestant("demo, flask run", "-m flask --app bench.demo run --port {port}", "hits")
GUNICORN = Contestant(
    "demo, gunicorn, 2 sync workers",
    "-m gunicorn --workers 2 --bind 127.0.0.1:{port} --log-level warning bench.demo:app",
    "hits",
)
FASTAPI = Contestant(
    "FastAPI + redis.asyncio, uvicorn",
    "-m uvicorn --workers 2 --loop uvloop --http httptools --port {port} "
    "--no-access-log --log-level warning bench.fastapi_demo:app",
    "fastapi",
)
WEBDIS = Contestant(
    "webdis (C), 2 threads", "-m bench.webdis {port}", "webdis", "/INCR/webdis", "webdis"
)
OURS = Contestant(
    "flask-redis-counter",
    "-m flask_redis_counter serve --workers 2 --port {port}",
    "counter:{visits}",
)
#: A Flask view that counts nothing, on the same server, with this number of threads per worker.
CONSTANTS = tuple(
    Contestant(
        f"(Flask, a constant, {threads} thread{'s' * (threads > 1)})",
        f"-m bench.constant {{port}} {threads}",
        None,
    )
    for threads in (1, 4, 16)
)

CONTESTANTS = (FLASK_RUN, GUNICORN, FASTAPI, WEBDIS, OURS, *CONSTANTS)
