"""What the log says of a request: a line where it failed, or of each; and no address.

A request's own identity goes along: the ``X-Request-ID`` that a proxy gave it, and where it comes
from a trace, that trace's (https://www.w3.org/TR/trace-context/).
"""

from __future__ import annotations

import logging
import re
import secrets
import time

from flask import Flask, Response, g, request
from flask.logging import default_handler, has_level_handler

from ..errors import CounterError, StoreError
from ..extension.state import EXTENSION_KEY, ExtensionState
from ..log_throttle import LogThrottle
from .json_logging import configure_json_logging
from .tracing import Tracer

#: What an answer says whose it is.
REQUEST_ID = "X-Request-ID"

#: Under what the front tells the views when a request came, by :func:`time.perf_counter`.
STARTED_AT_KEY = "flask_redis_counter.began"

#: Where an app keeps its :class:`.traces.Tracer`, None where it has none.
TRACES = "flask-redis-counter.traces"

#: Where an app keeps the log of requests that failed for want of the store.
OUTAGE_LOG = "flask-redis-counter.outage-log"

_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_TRACE = re.compile(
    "(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?"
)

_log = logging.getLogger(__name__)


def init_app(app: Flask) -> None:
    """Let the app log its requests, and answer with their identities."""
    state: ExtensionState = app.extensions[EXTENSION_KEY]
    each = state.config.access_log
    if state.config.log_json:
        configure_json_logging()
    elif not has_level_handler(app.logger):
        app.logger.addHandler(default_handler)
    if each:
        _log.setLevel(logging.INFO)

    traces = Tracer() if state.config.tracing else None
    app.extensions[TRACES] = traces
    outage_log = LogThrottle(_log, "hits are counted again")
    app.extensions[OUTAGE_LOG] = outage_log

    @app.before_request
    def begin() -> None:
        request.environ.setdefault(STARTED_AT_KEY, time.perf_counter())

    @app.after_request
    def end(response: Response) -> Response:
        identity = parse_request_id(request.headers.get(REQUEST_ID))
        failure = g.get("failure")
        began = request.environ.get(STARTED_AT_KEY, time.perf_counter())
        if traces is not None:
            rule = None if request.url_rule is None else str(request.url_rule)
            headers = request.headers.get
            traces.add(
                request.method, rule, request.path, response.status_code, began, headers, failure
            )
        if each or failure is not None:
            identity = identity or new_request_id()
            trace = request.headers.get("traceparent")
            throttle = outage_log if isinstance(failure, StoreError) and not each else None
            what = (request.method, request.path, response.status_code)
            log_request(*what, began, identity, trace, failure, throttle)
        if identity is not None:
            response.headers[REQUEST_ID] = identity
        return response


def record_failure(error: Exception) -> None:
    """Keep for the log why the request failed."""
    g.failure = error


def parse_request_id(header: str | None) -> str | None:
    """Return what a proxy, or the client, calls the request; None where that is malformed."""
    return header if header is not None and _ID.fullmatch(header) else None


def new_request_id() -> str:
    """Return an identity for a request that has none."""
    return secrets.token_hex(16)


def log_request(
    method: str,
    path: str,
    status: int,
    began: float,
    identity: str,
    traceparent: str | None,
    failure: Exception | None = None,
    throttle: LogThrottle | None = None,
) -> None:
    """Log a request that was answered.

    :param began: when it came, by :func:`time.perf_counter`.
    :param throttle: what suppresses its line where many fail alike.
    """
    took = (time.perf_counter() - began) * 1000
    extra = {"method": method, "path": path, "status": status, "duration_ms": round(took, 1)}
    extra["request_id"] = identity
    if traceparent is not None and (trace := _TRACE.fullmatch(traceparent)):
        extra["trace_id"], extra["span_id"] = trace[1], trace[2]
    # A path may have anything in it, line ends as well.
    shown = path.encode("unicode_escape").decode("ascii")
    said = f"{method} {shown}: {status} in {took:.1f} ms, request {identity}"
    if failure is None:
        _log.info(said, extra=extra)
    else:
        # Where a bug is, the log says; of an error of ours it says all.
        bug = None if isinstance(failure, CounterError) else failure
        extra["error"] = str(failure)
        log = _log.log if throttle is None else throttle.log
        log(logging.ERROR, "%s", f"{said}: {failure}", exc_info=bug, extra=extra)
