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


_GUNICORN = "-m gunicorn --bind 127.0.0.1:{port} --log-level warning"
_GTHREAD = f"{_GUNICORN} --workers 2 --worker-class gthread --threads 8 --keep-alive 75"
_UVICORN = (
    "-m uvicorn --workers 2 --loop uvloop --http httptools --port {port} "
    "--no-access-log --log-level warning"
)

FLASK_RUN = Contestant("demo, flask run", "-m flask --app bench.demo run --port {port}", "hits")
#: The classic demo of tutorials, as most of them deploy it.
DEMO = Contestant(
    "demo, gunicorn, 2 sync workers", f"{_GUNICORN} --workers 2 bench.demo:app", "hits"
)
GTHREAD = Contestant("demo, gunicorn gthread, 2 x 8", f"{_GTHREAD} bench.demo:app", "hits")
FASTAPI = Contestant(
    "FastAPI + redis.asyncio, uvicorn", f"{_UVICORN} bench.fastapi_demo:app", "fastapi"
)
STARLETTE = Contestant(
    "Starlette + redis.asyncio, uvicorn", f"{_UVICORN} bench.starlette_demo:app", "starlette"
)
WEBDIS = Contestant(
    "webdis (C), 2 threads", "-m bench.webdis {port} 2 8", "webdis", "/INCR/webdis", "webdis"
)
OURS = Contestant(
    "flask-redis-counter",
    "-m flask_redis_counter serve --workers 2 --port {port}",
    "counter:{visits}",
)
#: A Flask view that counts nothing, on the fastest WSGI servers, with threads per worker.
CONSTANTS = (
    *(
        Contestant(
            f"(Flask constant, Granian, {threads} thread{'s' * (threads > 1)})",
            f"-m bench.constant {{port}} {threads}",
            None,
        )
        for threads in (1, 4, 16)
    ),
    Contestant("(Flask constant, gunicorn, 2 x 8)", f"{_GTHREAD} bench.constant:make_app()", None),
)

CONTESTANTS = (FLASK_RUN, DEMO, GTHREAD, FASTAPI, STARLETTE, WEBDIS, OURS, *CONSTANTS)

#: Those that are also measured with few and with many connections.
SWEPT = (OURS, FASTAPI, WEBDIS)
