"""RSGI application for Granian: a fast path for programs' hits, and Flask for all other requests.

Flask's dispatch costs many times as much as a hit. The fast path answers the most frequent
requests, hits that get JSON, on the event loop. It uses the same functions as the views, and its
responses are the same byte for byte. All other requests go to Flask in a thread. Flask's hooks and
signals do not run for requests on the fast path.

Interface: https://github.com/emmett-framework/granian/blob/master/docs/spec/RSGI.md
"""

from __future__ import annotations

import asyncio
import io
import re
import time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias

from flask import Flask
from werkzeug.exceptions import HTTPException

from ... import hosts
from ...async_counter import AsyncRedisCounter
from ...counting.hit import Hit
from ...extension.state import EXTENSION_KEY, ExtensionState
from ...extension.visit_filter import PREFETCH_HEADERS
from ...extension.visits import DUPLICATE_VISIT, HitRequest
from ...limits import Limits
from ...log_throttle import LogThrottle
from ...validation import URL_SAFE_NAME
from ..negotiation import JSON, media_type
from ..params import parse_idempotency_key
from ..representations import HEADERS, hit_headers, render_json
from ..request_log import (
    OUTAGE_LOG_KEY,
    REQUEST_ID,
    STARTED_AT_KEY,
    TRACER_KEY,
    log_request,
    new_request_id,
    parse_request_id,
)
from ..routes.live import SLOT_KEY, ListenerSlot
from ..security_headers import cors_headers
from ..tracing import Tracer
from .events import EventBroadcaster
from .wsgi import WSGIResponse, body_stream, build_environ, client_address, get_header, request_host

if TYPE_CHECKING:
    from granian._granian import RSGIHTTPProtocol as HTTPProtocol
    from granian.rsgi import Scope

#: Seconds within which a request body has to arrive.
BODY_TIMEOUT = 5.0

#: Threads for Flask. Waiting for the store releases the interpreter's lock.
THREADS = 16

# Headers of most responses before Content-Length, in Flask's order.
_HEADERS = (*HEADERS.items(), ("Content-Type", JSON))
# Request headers that need a closer look.
_INSPECTED_HEADERS = PREFETCH_HEADERS | {
    "content-length",
    "transfer-encoding",
    "idempotency-key",
    "x-request-id",
}
_HITS = re.compile(rf"/counters/({URL_SAFE_NAME.pattern})/hits")
_AMOUNT = re.compile(r"(?:amount=([1-9][0-9]{0,17}))?")

# Name, amount, idempotency key, limits, visit and request ID of a hit.
_ParsedHit: TypeAlias = tuple[str, int, str | None, Limits, HitRequest, str | None]


class RSGIApp:
    """RSGI application around the service.

    :param app: the service. ``TRUSTED_HOSTS`` and ``SERVER_NAME`` turn the fast path off, because
        only Flask checks them.
    """

    def __init__(self, app: Flask) -> None:
        state: ExtensionState = app.extensions[EXTENSION_KEY]
        self._app = app
        self._name = state.config.name
        self._limits = state.config.limits
        self._named_limits = state.config.named_limits
        self._visit_filter = state.visit_filter
        self._cors = state.config.cors_origins
        self._access_log = state.config.access_log
        self._tracer: Tracer | None = app.extensions[TRACER_KEY]
        self._outage_log: LogThrottle = app.extensions[OUTAGE_LOG_KEY]
        self._is_watched = self._access_log or self._tracer is not None
        self._has_proxies = bool(state.config.trusted_proxies)
        checks_hosts = app.config.get("TRUSTED_HOSTS") or app.config["SERVER_NAME"]
        self._fast_path = state.config.fast_path and not checks_hosts
        self._hosts = state.config.trusted_hosts
        self._counter = AsyncRedisCounter(
            state.config.redis_url,
            prefix=state.config.prefix,
            timeout=state.config.timeout,
            durability=state.config.durability,
            spool=state.counter.spool,
            metrics=state.counter.metrics,
            visitors=state.counter.visitors,
        )
        state.counter.start_replaying()  # only worker processes create this object
        config = state.config
        self._broadcaster = (
            EventBroadcaster(config.redis_url, self._counter, config.max_listeners)
            if config.max_listeners
            else None
        )
        self._slots = asyncio.Semaphore(2 * THREADS)
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="flask")

    async def __rsgi__(self, scope: Scope, proto: HTTPProtocol) -> None:
        """Respond to one request."""
        started_at = time.perf_counter()
        parsed = self._parse_hit(scope) if self._fast_path else None
        if parsed is None:
            if self._broadcaster and scope.path == "/live" and scope.method == "GET":
                await self._stream_events(self._broadcaster, scope, started_at, proto)
                return
            response = await self._call_flask(
                scope, started_at, await self._read_body(scope, proto)
            )
            response.send(proto)
            return
        name, amount, idempotency_key, limits, visit, request_id = parsed
        try:
            hit = await self._counter.hit(
                name,
                amount,
                idempotency_key=idempotency_key,
                visitor=visit.visitor,
                client=visit.client,
                limits=limits,
            )
        except Exception as error:
            # Do not call the view: it would count again.
            self._error_response(scope, started_at, error).send(proto)
            return
        if self._outage_log.lasts:
            self._outage_log.recovered()
        reason = None if hit.counted else DUPLICATE_VISIT
        body = render_json(name, hit.value, counted=hit.counted, reason=reason).encode()
        length = ("Content-Length", str(len(body)))
        if self._is_watched:
            request_id = self._observe(scope, started_at, request_id)
        if hit.replayed or self._cors or request_id:
            headers = self._extra_headers(scope, hit, length, request_id)
        else:
            headers = [*_HEADERS, length]
        proto.response_bytes(200, headers, body)

    def end_streams(self) -> None:
        """End the event streams, which would never end otherwise."""
        if self._broadcaster:
            self._broadcaster.close()

    async def aclose(self) -> None:
        """Close the connections; end each thread after its current response."""
        self.end_streams()
        await self._counter.aclose()
        self._executor.shutdown(wait=False)

    async def _stream_events(
        self, broadcaster: EventBroadcaster, scope: Scope, started_at: float, proto: HTTPProtocol
    ) -> None:
        with broadcaster.reserve() as slot:
            response = await self._call_flask(scope, started_at, None, slot)
            if response.status == 200:
                await broadcaster.serve(proto, response.headers, slot.names)
            else:
                response.send(proto)

    def _extra_headers(
        self, scope: Scope, hit: Hit, length: tuple[str, str], request_id: str | None
    ) -> list[tuple[str, str]]:
        headers = dict([*hit_headers(hit).items(), ("Content-Type", JSON), length])
        if self._cors:
            headers |= cors_headers(self._cors, scope.headers.get("origin"))
            headers["Vary"] += ", Origin"
        if request_id is not None:
            headers[REQUEST_ID] = request_id
        return list(headers.items())

    def _observe(self, scope: Scope, started_at: float, request_id: str | None) -> str | None:
        """Log and trace a hit that was answered; return its request ID."""
        header = partial(get_header, scope.headers)
        if self._tracer is not None:
            route = scope.path if scope.path == "/count" else "/counters/<name>/hits"
            self._tracer.record_request(
                scope.method, route, scope.path, HTTPStatus.OK, started_at, header
            )
        if self._access_log:
            request_id = request_id or new_request_id()
            log_request(
                scope.method,
                scope.path,
                HTTPStatus.OK,
                started_at,
                request_id,
                header("traceparent"),
            )
        return request_id

    async def _read_body(self, scope: Scope, proto: HTTPProtocol) -> io.IOBase | None:
        """Read the body if a view needs it; return None otherwise."""
        length = scope.headers.get("content-length")
        is_hit = scope.method == "POST" and length is None and _HITS.fullmatch(scope.path)
        if scope.method != "PUT" and not is_hit:
            return None
        return await body_stream(
            proto, length, self._app.config["MAX_CONTENT_LENGTH"], BODY_TIMEOUT
        )

    def _parse_hit(self, scope: Scope) -> _ParsedHit | None:
        """Return the hit that a request asks for, None if Flask has to handle the request."""
        path, method = scope.path, scope.method
        if path == "/count" and method in ("GET", "POST"):
            if scope.query_string:
                return None
            name, amount, limits = self._name, 1, self._limits
        elif method == "POST" and (named := _HITS.fullmatch(path)):
            if not (query := _AMOUNT.fullmatch(scope.query_string)):
                return None
            if scope.http_version == "2" and "content-length" not in scope.headers:
                return None  # HTTP/2 allows a body without a length
            name, amount, limits = named[1], int(query[1] or 1), self._named_limits
        else:
            return None
        headers: Any = scope.headers
        idempotency_key = request_id = None
        names = headers.keys()
        if not _INSPECTED_HEADERS.isdisjoint(names):
            if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
                return None
            if not PREFETCH_HEADERS.isdisjoint(names):
                return None
            try:
                idempotency_key = parse_idempotency_key(get_header(headers, "idempotency-key"))
            except HTTPException:
                return None
            if idempotency_key is not None:
                limits = self._visit_filter.adjust_limits(limits, idempotency_key, headers.get)
            request_id = parse_request_id(get_header(headers, "x-request-id"))
        accept = get_header(headers, "accept") if "accept" in names else None
        if not _accepts_json(request_host(scope), self._hosts, accept or ""):
            return None
        header = partial(get_header, headers) if self._has_proxies else headers.get
        if self._visit_filter.ignores_bots and self._visit_filter.skip_reason(header) is not None:
            return None
        visit = self._visit_filter.identify(client_address(scope.client), header)
        return name, amount, idempotency_key, limits, visit, request_id

    async def _call_flask(
        self,
        scope: Scope,
        started_at: float,
        body: io.IOBase | None,
        slot: ListenerSlot | None = None,
    ) -> WSGIResponse:
        loop = asyncio.get_running_loop()
        async with self._slots:  # responses that wait for the loop occupy memory
            call = partial(self._call_wsgi, scope, started_at, body, slot)
            return await loop.run_in_executor(self._executor, call)

    def _call_wsgi(
        self, scope: Scope, started_at: float, body: io.IOBase | None, slot: ListenerSlot | None
    ) -> WSGIResponse:
        response = WSGIResponse()
        environ = build_environ(scope, body) | {STARTED_AT_KEY: started_at}
        if self._broadcaster:
            environ[SLOT_KEY] = slot
        response.collect(self._app(environ, response))
        return response

    def _error_response(self, scope: Scope, started_at: float, error: Exception) -> WSGIResponse:
        environ = build_environ(scope) | {STARTED_AT_KEY: started_at}
        with self._app.request_context(environ):
            response = self._app.make_response(self._app.handle_user_exception(error))
            response = self._app.process_response(response)
        result = WSGIResponse()
        result.collect(response(environ, result))
        return result


@lru_cache(maxsize=256)
def _accepts_json(host: str | None, allowed: tuple[str, ...], accept: str) -> bool:
    """Return whether the host is allowed, and the response is JSON."""
    if not hosts.is_allowed_host(host, allowed):
        return False
    try:
        return media_type(accept) == JSON
    except HTTPException:
        return False
