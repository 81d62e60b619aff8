"""Reads of single values by programs, answered on the event loop, ahead of Flask.

Concurrent reads share a round trip. The responses are those of the views, byte for byte.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.http import generate_etag

from ... import hosts
from ...async_counter import AsyncRedisCounter
from ...extension.state import EXTENSION_KEY, ExtensionState
from ...validation import URL_SAFE_NAME
from ..http.request import Request
from ..http.response import render_response
from ..negotiation import JSON, SVG, TEXT, media_type
from ..representations import HEADERS, render_json
from ..request_log import TRACER_KEY
from ..security_headers import NOSNIFF
from .hits import has_fast_path

_log = logging.getLogger(__name__)

_READ = re.compile(rf"/counters/({URL_SAFE_NAME.pattern})(\.json|\.txt|)")
_SUFFIXES = {".json": JSON, ".txt": TEXT}
# Requests with these headers get another response, or are logged with it.
_OTHER_HEADERS = frozenset(
    {"if-match", "if-none-match", "expect", "transfer-encoding", "x-request-id"}
)


class ReadPlan(NamedTuple):
    """The value that a request asks for.

    :ivar name: name of the counter.
    :ivar media_type: media type of the response, JSON or text.
    """

    name: str
    media_type: str


class ReadHandler:
    """Reads values for one worker.

    :param app: the service. Its access log, traces and CORS turn this path off.
    :param counter: the counters, for the worker's event loop.
    :param call_flask: handles a request whose counter has no value, or cannot be read.
    """

    def __init__(
        self, app: Flask, counter: AsyncRedisCounter, call_flask: Callable[[Request], None]
    ) -> None:
        state: ExtensionState = app.extensions[EXTENSION_KEY]
        config = state.config
        self._counter = counter
        self._call_flask = call_flask
        self._hosts = config.trusted_hosts
        is_watched = config.access_log or app.extensions[TRACER_KEY] is not None
        self._is_on = has_fast_path(app) and not (is_watched or config.cors_origins)
        self._waiting: dict[str, list[Request]] = {}
        self._task: asyncio.Task[None] | None = None

    def plan(self, request: Request) -> bool:
        """Set the plan of a request that asks for a value.

        :returns: False if Flask has to handle the request.
        """
        if not self._is_on or request.method != "GET" or request.body:
            return False
        parsed = parse_read_target(request.target)
        headers = request.headers
        if parsed is None or not _OTHER_HEADERS.isdisjoint(headers):
            return False
        name, suffix = parsed
        kind = _SUFFIXES.get(suffix) or _negotiate(headers.get("accept", ""))
        if kind is None or not hosts.is_allowed_host(headers.get("host"), self._hosts):
            return False
        request.plan = ReadPlan(name, kind)
        return True

    def read(self, request: Request) -> None:
        """Read the planned value, and respond with it."""
        self._waiting.setdefault(request.plan.name, []).append(request)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._read_all())

    async def _read_all(self) -> None:
        while waiting := self._waiting:
            self._waiting = {}
            values: dict[str, int | None] = {}
            with suppress(Exception):  # Flask reads again, and explains it
                values = await self._counter.values(waiting, default=None, invalid=None)
            for name, requests in waiting.items():
                for request in requests:
                    self._respond(request, values.get(name))

    def _respond(self, request: Request, value: int | None) -> None:
        if value is None:
            self._call_flask(request)
            return
        try:
            headers, body = _render(*request.plan, value)
            request.connection.respond(request, render_response(200, headers, body, request))
        except Exception:  # a bug; the other clients are waiting, too
            _log.exception("the response to a read failed")
            request.connection.abort()


@lru_cache(maxsize=1024)
def parse_read_target(target: bytes) -> tuple[str, str] | None:
    """Return the name and the suffix (or ``""``) of a target that reads a value, else None."""
    named = _READ.fullmatch(target.decode("latin-1"))
    return None if named is None else (named[1], named[2])


@lru_cache(maxsize=256)
def _negotiate(accept: str) -> str | None:
    """Return the media type if it is JSON or text, None if Flask has to decide."""
    try:
        kind = media_type(accept, SVG)
    except HTTPException:
        return None
    return kind if kind in (JSON, TEXT) else None


@lru_cache(maxsize=256)
def _render(name: str, kind: str, value: int) -> tuple[list[tuple[str, str]], bytes]:
    """Return the headers, in Flask's order, and the body."""
    text = f"{value}\n" if kind == TEXT else render_json(name, value, counted=False)
    body = text.encode()
    headers = HEADERS | {
        "Cache-Control": "no-cache",
        "Content-Type": JSON if kind == JSON else f"{TEXT}; charset=utf-8",
        "Content-Length": str(len(body)),
        "ETag": f'"{generate_etag(body)}"',
    }
    return list((headers if kind == JSON else headers | NOSNIFF).items()), body
