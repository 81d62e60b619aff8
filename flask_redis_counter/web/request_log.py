"""Log of requests: each failed request, or every request with COUNTER_ACCESS_LOG.

A line has the request ID (``X-Request-ID``, set by a proxy or by the service) and the trace ID and
span ID of ``traceparent`` (https://www.w3.org/TR/trace-context/). It never has a client address.
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

#: Header that carries the request ID.
REQUEST_ID = "X-Request-ID"

#: WSGI environ key: the time at which the request arrived, by :func:`time.perf_counter`.
STARTED_AT_KEY = "flask_redis_counter.started_at"

#: Key in ``app.extensions``: the :class:`.tracing.Tracer` of an app, None if tracing is off.
TRACER_KEY = "redis_counter_tracer"

#: Key in ``app.extensions``: the throttled log of requests that the store failed.
OUTAGE_LOG_KEY = "redis_counter_outage_log"

_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_TRACE = re.compile(
    "(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?"
)

_log = logging.getLogger(__name__)


def init_app(app: Flask) -> None:
    """Log the app's requests, and add the request ID to responses."""
    state: ExtensionState = app.extensions[EXTENSION_KEY]
    access_log = state.config.access_log
    if state.config.log_json:
        configure_json_logging()
    elif not has_level_handler(app.logger):
        app.logger.addHandler(default_handler)
    if access_log:
        _log.setLevel(logging.INFO)

    tracer = Tracer() if state.config.tracing else None
    app.extensions[TRACER_KEY] = tracer
    outage_log = LogThrottle(_log, "hits are counted again")
    app.extensions[OUTAGE_LOG_KEY] = outage_log

    @app.before_request
    def start_clock() -> None:
        request.environ.setdefault(STARTED_AT_KEY, time.perf_counter())

    @app.after_request
    def log_response(response: Response) -> Response:
        method, path, status = request.method, request.path, response.status_code
        headers = request.headers.get
        request_id = parse_request_id(headers(REQUEST_ID))
        failure = g.get("failure")
        started_at = request.environ.get(STARTED_AT_KEY, time.perf_counter())
        if tracer is not None:
            route = None if request.url_rule is None else str(request.url_rule)
            tracer.record_request(method, route, path, status, started_at, headers, failure)
        if access_log or failure is not None:
            request_id = request_id or new_request_id()
            traceparent = headers("traceparent")
            throttle = outage_log if isinstance(failure, StoreError) and not access_log else None
            log_request(
                method, path, status, started_at, request_id, traceparent, failure, throttle
            )
        if request_id is not None:
            response.headers[REQUEST_ID] = request_id
        return response


def record_failure(error: Exception) -> None:
    """Set the error that the log and the trace report for the current request."""
    g.failure = error


def parse_request_id(header: str | None) -> str | None:
    """Return the request ID from a proxy or the client; None if it is absent or malformed."""
    return header if header is not None and _ID.fullmatch(header) else None


def new_request_id() -> str:
    """Return a random request ID."""
    return secrets.token_hex(16)


def log_request(
    method: str,
    path: str,
    status: int,
    started_at: float,
    request_id: str,
    traceparent: str | None,
    failure: Exception | None = None,
    throttle: LogThrottle | None = None,
) -> None:
    """Log a request that was answered.

    :param started_at: its arrival, by :func:`time.perf_counter`.
    :param throttle: logs the line instead of the module's logger, and suppresses repeated ones.
    """
    duration_ms = (time.perf_counter() - started_at) * 1000
    extra = {"method": method, "path": path, "status": status, "duration_ms": round(duration_ms, 1)}
    extra["request_id"] = request_id
    if traceparent is not None and (trace := _TRACE.fullmatch(traceparent)):
        extra["trace_id"], extra["span_id"] = trace[1], trace[2]
    # A path may contain any character, even line breaks.
    escaped = path.encode("unicode_escape").decode("ascii")
    line = f"{method} {escaped}: {status} in {duration_ms:.1f} ms, request {request_id}"
    if failure is None:
        _log.info(line, extra=extra)
    else:
        # The message of a CounterError is enough; any other exception is a bug, with traceback.
        bug = None if isinstance(failure, CounterError) else failure
        extra["error"] = str(failure)
        log = _log.log if throttle is None else throttle.log
        log(logging.ERROR, "%s", f"{line}: {failure}", exc_info=bug, extra=extra)
