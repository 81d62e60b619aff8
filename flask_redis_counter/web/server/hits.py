"""The fast path: hits of programs, answered on the event loop, ahead of Flask.

Flask's dispatch costs many times as much as a hit. The fast path answers the most frequent
requests, hits that get JSON, from the callback of the parser and that of the batch: without a task,
a future or a thread for the request. It uses the same functions as the views, and its responses are
the same byte for byte. Flask's hooks and signals do not run for these requests.
"""

from __future__ import annotations

import asyncio
import logging
import re
from functools import lru_cache, partial
from http import HTTPStatus
from typing import NamedTuple

from flask import Flask
from werkzeug.exceptions import HTTPException

from ... import hosts
from ...async_counter import AsyncRedisCounter
from ...counting.hit import Hit, PendingHit
from ...extension.state import EXTENSION_KEY, ExtensionState
from ...extension.visit_filter import PREFETCH_HEADERS
from ...extension.visits import DUPLICATE_VISIT, HitRequest
from ...limits import Limits
from ...log_throttle import LogThrottle
from ...validation import URL_SAFE_NAME
from ..http.request import Request
from ..http.response import DATE, render_response
from ..negotiation import JSON, media_type
from ..params import parse_idempotency_key
from ..representations import HEADERS, hit_headers, render_json
from ..request_log import (
    OUTAGE_LOG_KEY,
    REQUEST_ID,
    TRACER_KEY,
    log_request,
    new_request_id,
    parse_request_id,
)
from ..security_headers import cors_headers
from ..tracing import Tracer
from .wsgi import FlaskThreads

_log = logging.getLogger(__name__)

# Headers of most responses before Content-Length, in Flask's order.
_HEADERS = (*HEADERS.items(), ("Content-Type", JSON))
_HEADER_LINES = "".join(f"{name}: {value}\r\n" for name, value in _HEADERS)
# Request headers that need a closer look.
_INSPECTED_HEADERS = PREFETCH_HEADERS | {"idempotency-key", "transfer-encoding", "x-request-id"}
_HITS = re.compile(
    rf"/counters/({URL_SAFE_NAME.pattern})/hits(?:\?(?:amount=([1-9][0-9]{{0,17}}))?)?"
)


class HitPlan(NamedTuple):
    """The hit that a request asks for.

    :ivar name: name of the counter.
    :ivar amount: amount of the hit.
    :ivar idempotency_key: its idempotency key, or None.
    :ivar limits: limits for the hit.
    :ivar visit: its visitor and client.
    :ivar request_id: request ID from the client or a proxy, or None.
    """

    name: str
    amount: int
    idempotency_key: str | None
    limits: Limits
    visit: HitRequest
    request_id: str | None


class HitHandler:
    """The fast path of one worker.

    :param app: the service.
    :param counter: the counters, for the worker's event loop.
    :param flask: renders errors.
    """

    def __init__(self, app: Flask, counter: AsyncRedisCounter, flask: FlaskThreads) -> None:
        state: ExtensionState = app.extensions[EXTENSION_KEY]
        self._counter = counter
        self._flask = flask
        self._name = state.config.name
        self._limits = state.config.limits
        self._named_limits = state.config.named_limits
        self._visit_filter = state.visit_filter
        self._cors = state.config.cors_origins
        self._access_log = state.config.access_log
        self._tracer: Tracer | None = app.extensions[TRACER_KEY]
        self._outage_log: LogThrottle = app.extensions[OUTAGE_LOG_KEY]
        self._is_watched = self._access_log or self._tracer is not None
        self._is_on = has_fast_path(app)
        self._hosts = state.config.trusted_hosts
        # Rendering of errors in progress; the loop has only weak references to tasks.
        self._failing: set[asyncio.Task[None]] = set()

    def plan(self, request: Request) -> bool:
        """Set the plan of a request that asks for a hit.

        :returns: False if Flask has to handle the request.
        """
        if not self._is_on or request.body:
            return False
        target, method = request.target, request.method
        if target in (b"/count", b"/count?"):
            if method not in ("GET", "POST"):
                return False
            name, amount, limits = self._name, 1, self._limits
        else:
            if method != "POST" or (named := parse_target(target)) is None:
                return False
            (name, amount), limits = named, self._named_limits
        headers = request.headers
        idempotency_key = request_id = None
        if not _INSPECTED_HEADERS.isdisjoint(headers):
            if "transfer-encoding" in headers or not PREFETCH_HEADERS.isdisjoint(headers):
                return False
            try:
                idempotency_key = parse_idempotency_key(headers.get("idempotency-key"))
            except HTTPException:
                return False
            limits = self._visit_filter.adjust_limits(limits, idempotency_key, headers.get)
            request_id = parse_request_id(headers.get("x-request-id"))
        if not _accepts_json(headers.get("host"), self._hosts, headers.get("accept", "")):
            return False
        visits = self._visit_filter
        if visits.ignores_bots and visits.skip_reason(headers.get) is not None:
            return False
        visit = visits.identify(request.connection.client, headers.get)
        request.plan = HitPlan(name, amount, idempotency_key, limits, visit, request_id)
        return True

    def count(self, request: Request) -> None:
        """Count the planned hit, and respond when it has its outcome."""
        name, amount, idempotency_key, limits, visit, _ = request.plan
        done = partial(self._finish, request)
        try:
            self._counter.submit(
                name, amount, idempotency_key, visit.visitor, visit.client, limits, done
            )
        except Exception as error:  # invalid arguments, or a bug
            self._respond_with_error(request, error)

    def _finish(self, request: Request, pending: PendingHit) -> None:
        try:
            self._answer(request, pending)
        except Exception:  # a bug; the hit has counted, so that no status would be true
            _abandon(request)

    def _answer(self, request: Request, pending: PendingHit) -> None:
        value, plan = pending.value, request.plan
        if value is None:
            task = asyncio.get_running_loop().create_task(self._fail(request, pending))
            self._failing.add(task)
            task.add_done_callback(self._failing.discard)
            return
        if self._outage_log.lasts:
            self._outage_log.recovered()
        counted = pending.counted
        reason = None if counted else DUPLICATE_VISIT
        body = render_json(plan.name, value, counted=counted, reason=reason)
        request_id = self._observe(request, plan) if self._is_watched else plan.request_id
        if (
            pending.replayed
            or self._cors
            or request_id
            or not request.keeps_alive
            or request.version == "1.0"
        ):
            response = self._render(request, plan, pending, body.encode(), request_id)
        else:
            response = (
                f"HTTP/1.1 200 OK\r\n{DATE.line}{_HEADER_LINES}"
                f"Content-Length: {len(body)}\r\n\r\n{body}"
            ).encode()
        request.connection.respond(request, response)

    async def _fail(self, request: Request, pending: PendingHit) -> None:
        """Respond to a hit without a value. The view is not called: it would count again."""
        try:
            await self._counter.settle(pending)
            pending.result()
        except Exception as error:
            self._respond_with_error(request, error)

    def _respond_with_error(self, request: Request, error: Exception) -> None:
        try:
            self._flask.render_error(request, error).send(request)
        except Exception:  # a bug, or an error handler of the app that fails
            _abandon(request)

    def _render(
        self,
        request: Request,
        plan: HitPlan,
        pending: PendingHit,
        body: bytes,
        request_id: str | None,
    ) -> bytes:
        hit = Hit(plan.name, pending.value or 0, pending.replayed, pending.counted)
        headers = dict([*hit_headers(hit).items(), ("Content-Type", JSON)])
        headers["Content-Length"] = str(len(body))
        if self._cors:
            headers |= cors_headers(self._cors, request.headers.get("origin"))
            headers["Vary"] += ", Origin"
        if request_id is not None:
            headers[REQUEST_ID] = request_id
        return render_response(200, headers.items(), body, request)

    def _observe(self, request: Request, plan: HitPlan) -> str | None:
        """Log and trace a hit that was answered; return its request ID."""
        method, header, started_at = request.method, request.headers.get, request.started_at
        path = request.target.partition(b"?")[0].decode("ascii")
        if self._tracer is not None:
            route = path if path == "/count" else "/counters/<name>/hits"
            self._tracer.record_request(method, route, path, HTTPStatus.OK, started_at, header)
        if not self._access_log:
            return plan.request_id
        request_id = plan.request_id or new_request_id()
        log_request(method, path, HTTPStatus.OK, started_at, request_id, header("traceparent"))
        return request_id


def _abandon(request: Request) -> None:
    """Log the current exception, and close the connection without a response."""
    _log.exception("the response to a hit failed: its client does not know the outcome")
    request.connection.abort()


def has_fast_path(app: Flask) -> bool:
    """Return whether requests may be answered ahead of Flask.

    ``TRUSTED_HOSTS`` and ``SERVER_NAME`` of the app rule it out: only Flask checks them.
    """
    state: ExtensionState = app.extensions[EXTENSION_KEY]
    checks_hosts = app.config.get("TRUSTED_HOSTS") or app.config["SERVER_NAME"]
    return state.config.fast_path and not checks_hosts


@lru_cache(maxsize=1024)
def parse_target(target: bytes) -> tuple[str, int] | None:
    """Return the name and the amount of a target that counts a hit, else None."""
    named = _HITS.fullmatch(target.decode("latin-1"))
    return None if named is None else (named[1], int(named[2] or 1))


@lru_cache(maxsize=256)
def _accepts_json(host: str | None, allowed: tuple[str, ...], accept: str) -> bool:
    """Return whether the host is allowed, and the response is JSON."""
    if not hosts.is_allowed_host(host, allowed):
        return False
    try:
        return media_type(accept) == JSON
    except HTTPException:
        return False
