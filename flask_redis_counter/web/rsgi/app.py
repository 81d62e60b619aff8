"""The service as Granian runs it (RSGI): programs' hits on the event loop, all else by Flask.

Flask's dispatch costs many times what a hit does. The front answers the requests that there are
many of, a program's hits, through the same functions as the views and byte for byte alike, and
hands everything else to Flask in a thread. Hooks and signals of Flask do not see what it answers.

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
    OUTAGE_LOG,
    REQUEST_ID,
    STARTED_AT_KEY,
    TRACES,
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

#: Seconds that a body may take to arrive.
BODY_TIMEOUT = 5.0

#: Threads for what Flask answers. Waiting for the store releases the interpreter's lock.
THREADS = 16

# What goes with most answers, before their length: in Flask's order.
_HEADERS = (*HEADERS.items(), ("Content-Type", JSON))
# Headers that want a closer look.
_INSPECTED_HEADERS = PREFETCH_HEADERS | {
    "content-length",
    "transfer-encoding",
    "idempotency-key",
    "x-request-id",
}
_HITS = re.compile(rf"/counters/({URL_SAFE_NAME.pattern})/hits")
_AMOUNT = re.compile(r"(?:amount=([1-9][0-9]{0,17}))?")

#: A hit's name, amount, token, terms and sender, and what its request is called.
Wanted: TypeAlias = tuple[str, int, str | None, Limits, HitRequest, str | None]


class RSGIApp:
    """An RSGI application around the service.

    :param app: the service. Its settings say whether the fast path is on; where it judges
        hosts (``TRUSTED_HOSTS``, ``SERVER_NAME``) it is off, because only Flask knows them.
    """

    def __init__(self, app: Flask) -> None:
        state: ExtensionState = app.extensions[EXTENSION_KEY]
        self._app = app
        self._name = state.config.name
        self._limits = state.config.limits
        self._named_terms = state.config.named_limits
        self._screen = state.visit_filter
        self._cors = state.config.cors_origins
        self._log_requests = state.config.access_log
        self._traces: Tracer | None = app.extensions[TRACES]
        self._outage_log: LogThrottle = app.extensions[OUTAGE_LOG]
        self._is_watched = self._log_requests or self._traces is not None
        self._proxies = bool(state.config.trusted_proxies)
        judges_hosts = app.config.get("TRUSTED_HOSTS") or app.config["SERVER_NAME"]
        self._fast = state.config.fast_path and not judges_hosts
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
        state.counter.start_replaying()  # this process is a worker
        config = state.config
        self._hub = (
            EventBroadcaster(config.redis_url, self._counter, config.max_listeners)
            if config.max_listeners
            else None
        )
        self._places = asyncio.Semaphore(2 * THREADS)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="flask")

    async def __rsgi__(self, scope: Scope, proto: HTTPProtocol) -> None:
        """Answer one request."""
        began = time.perf_counter()
        wanted = self._hit_in(scope) if self._fast else None
        if wanted is None:
            if self._hub and scope.path == "/live" and scope.method == "GET":
                await self._go_live(self._hub, scope, began, proto)
                return
            answer = await self._from_flask(scope, began, await self._body(scope, proto))
            answer.send(proto)
            return
        name, amount, idempotency_key, limits, visit, identity = wanted
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
            # Not by way of the view, which would count once more.
            self._explain(scope, began, error).send(proto)
            return
        if self._outage_log.lasts:
            self._outage_log.recovered()
        reason = None if hit.counted else DUPLICATE_VISIT
        body = render_json(name, hit.value, counted=hit.counted, reason=reason).encode()
        length = ("Content-Length", str(len(body)))
        if self._is_watched:
            identity = self._tell(scope, began, identity)
        if hit.replayed or self._cors or identity:
            headers = self._rarer_headers(scope, hit, length, identity)
        else:
            headers = [*_HEADERS, length]
        proto.response_bytes(200, headers, body)

    def end_streams(self) -> None:
        """End what would go on for as long as the clients like."""
        if self._hub:
            self._hub.close()

    async def aclose(self) -> None:
        """Close the connections, and end the threads once they have answered."""
        self.end_streams()
        await self._counter.aclose()
        self._threads.shutdown(wait=False)

    async def _go_live(
        self, hub: EventBroadcaster, scope: Scope, began: float, proto: HTTPProtocol
    ) -> None:
        with hub.seat() as seat:
            answer = await self._from_flask(scope, began, None, seat)
            if answer.status == 200:
                await hub.serve(proto, answer.headers, seat.names)
            else:
                answer.send(proto)

    def _rarer_headers(
        self, scope: Scope, hit: Hit, length: tuple[str, str], identity: str | None
    ) -> list[tuple[str, str]]:
        headers = dict([*hit_headers(hit).items(), ("Content-Type", JSON), length])
        if self._cors:
            headers |= cors_headers(self._cors, scope.headers.get("origin"))
            headers["Vary"] += ", Origin"
        if identity is not None:
            headers[REQUEST_ID] = identity
        return list(headers.items())

    def _tell(self, scope: Scope, began: float, identity: str | None) -> str | None:
        """Tell the log and OpenTelemetry of a hit that was answered; return what it is called."""
        header = partial(get_header, scope.headers)
        if self._traces is not None:
            route = scope.path if scope.path == "/count" else "/counters/<name>/hits"
            self._traces.add(scope.method, route, scope.path, HTTPStatus.OK, began, header)
        if self._log_requests:
            identity = identity or new_request_id()
            log_request(
                scope.method, scope.path, HTTPStatus.OK, began, identity, header("traceparent")
            )
        return identity

    async def _body(self, scope: Scope, proto: HTTPProtocol) -> io.IOBase | None:
        """Read a body that a view looks at; the others are ignored."""
        length = scope.headers.get("content-length")
        is_hit = scope.method == "POST" and length is None and _HITS.fullmatch(scope.path)
        if scope.method != "PUT" and not is_hit:
            return None
        return await body_stream(
            proto, length, self._app.config["MAX_CONTENT_LENGTH"], BODY_TIMEOUT
        )

    def _hit_in(self, scope: Scope) -> Wanted | None:
        """Return what is wanted where that is plainly a hit; None: Flask has to look at it."""
        path, method = scope.path, scope.method
        if path == "/count" and method in ("GET", "POST"):
            if scope.query_string:
                return None
            name, amount, limits = self._name, 1, self._limits
        elif method == "POST" and (named := _HITS.fullmatch(path)):
            if not (query := _AMOUNT.fullmatch(scope.query_string)):
                return None
            if scope.http_version == "2" and "content-length" not in scope.headers:
                return None  # there may be a body all the same
            name, amount, limits = named[1], int(query[1] or 1), self._named_terms
        else:
            return None
        headers: Any = scope.headers
        idempotency_key = identity = None
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
                limits = self._screen.adjust_limits(limits, idempotency_key, headers.get)
            identity = parse_request_id(get_header(headers, "x-request-id"))
        accept = get_header(headers, "accept") if "accept" in names else None
        if not _is_plain(request_host(scope), self._hosts, accept or ""):
            return None
        header = partial(get_header, headers) if self._proxies else headers.get
        if self._screen.ignores_bots and self._screen.skip_reason(header) is not None:
            return None
        visit = HitRequest(None, *self._screen.identify(client_address(scope.client), header))
        return name, amount, idempotency_key, limits, visit, identity

    async def _from_flask(
        self, scope: Scope, began: float, body: io.IOBase | None, seat: ListenerSlot | None = None
    ) -> WSGIResponse:
        loop = asyncio.get_running_loop()
        async with self._places:  # answers that wait for the loop take memory
            ask = partial(self._ask_flask, scope, began, body, seat)
            return await loop.run_in_executor(self._threads, ask)

    def _ask_flask(
        self, scope: Scope, began: float, body: io.IOBase | None, seat: ListenerSlot | None
    ) -> WSGIResponse:
        answer = WSGIResponse()
        environ = build_environ(scope, body) | {STARTED_AT_KEY: began}
        if self._hub:
            environ[SLOT_KEY] = seat
        answer.collect(self._app(environ, answer))
        return answer

    def _explain(self, scope: Scope, began: float, error: Exception) -> WSGIResponse:
        environ = build_environ(scope) | {STARTED_AT_KEY: began}
        with self._app.request_context(environ):
            response = self._app.make_response(self._app.handle_user_exception(error))
            response = self._app.process_response(response)
        answer = WSGIResponse()
        answer.collect(response(environ, answer))
        return answer


@lru_cache(maxsize=256)
def _is_plain(host: str | None, allowed: tuple[str, ...], accept: str) -> bool:
    """Whether the host is allowed, and the answer is JSON."""
    if not hosts.is_allowed_host(host, allowed):
        return False
    try:
        return media_type(accept) == JSON
    except HTTPException:
        return False
