"""Error handling: problem documents (RFC 9457), or pages and pictures in their place."""

from __future__ import annotations

import json
import math
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, render_template, request
from werkzeug.exceptions import HTTPException

from ..errors import (
    CounterError,
    CounterExistsError,
    CounterNotFoundError,
    CounterOverflowError,
    DurabilityUnsupportedError,
    HitSpooledError,
    IdempotencyKeyReusedError,
    IdempotencyMemoryError,
    InvalidAmountError,
    InvalidIdempotencyKeyError,
    InvalidNameError,
    InvalidPeriodError,
    NotAnIntegerError,
    OutcomeUnknownError,
    RateLimitExceededError,
    StoreRejectedError,
    StoreUnavailableError,
    TooManyCountersError,
)
from ..outcome import Outcome
from ..validation import MAX_VALUE
from . import badge_response
from .negotiation import HTML, TEXT, media_type, wants_page
from .representations import COUNTED_MEMBER, HEADERS, IDEMPOTENCY_MEMORY
from .request_log import record_failure

#: Media type of a problem document.
PROBLEM = "application/problem+json"

#: ``Retry-After`` of a 503, in seconds.
RETRY_AFTER = 1

# Endpoints that count: their error pages say whether the visit was counted.
_COUNTING_ENDPOINTS = frozenset({"counter.count", "counters.hit"})

# Status and detail for clients. The log has the cause, which may contain hosts and keys.
_UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE
_RESPONSES: dict[type[CounterError], tuple[HTTPStatus, str | None]] = {
    InvalidNameError: (HTTPStatus.BAD_REQUEST, None),
    InvalidIdempotencyKeyError: (HTTPStatus.BAD_REQUEST, None),
    IdempotencyKeyReusedError: (HTTPStatus.UNPROCESSABLE_ENTITY, None),
    InvalidAmountError: (HTTPStatus.BAD_REQUEST, None),
    InvalidPeriodError: (HTTPStatus.BAD_REQUEST, None),
    CounterExistsError: (HTTPStatus.PRECONDITION_FAILED, None),
    CounterNotFoundError: (HTTPStatus.NOT_FOUND, None),
    TooManyCountersError: (HTTPStatus.CONFLICT, None),
    RateLimitExceededError: (HTTPStatus.TOO_MANY_REQUESTS, None),
    IdempotencyMemoryError: (_UNAVAILABLE, None),
    CounterOverflowError: (
        HTTPStatus.CONFLICT,
        f"The counter would exceed {MAX_VALUE}. Nothing was counted.",
    ),
    NotAnIntegerError: (
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The store holds something that is not an integer under this counter's key. "
        "It was left untouched. Use another name, or COUNTER_PREFIX.",
    ),
    StoreUnavailableError: (_UNAVAILABLE, "The store cannot be reached. Nothing was counted."),
    StoreRejectedError: (_UNAVAILABLE, "The store rejected the command. Nothing was counted."),
    DurabilityUnsupportedError: (
        _UNAVAILABLE,
        "The store does not support the configured durability. Nothing was counted.",
    ),
    OutcomeUnknownError: (
        _UNAVAILABLE,
        "The store did not confirm the hit in time. The visit may have been counted.",
    ),
}


def init_app(app: Flask) -> None:
    """Register the error handlers: every error becomes a problem."""
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(HitSpooledError, _spooled)
    app.register_error_handler(CounterError, error_response)
    app.register_error_handler(Exception, _bug)


def problem_response(status: HTTPStatus, detail: str, **members: Any) -> Response:
    """Return a problem document, or an equivalent page or picture.

    :param members: additional members of the document.
    """
    document = {"type": "about:blank", "title": status.phrase, "status": status.value}
    document |= {"detail": detail, **members}
    if badge_response.is_badge_request():
        response = badge_response.error_badge(status, str(members.get("counted", False)).lower())
    elif wants_page(request.headers.get("Accept", "")):
        is_visit = request.endpoint in _COUNTING_ENDPOINTS
        if not is_visit:
            document["detail"] = detail.removesuffix(" Nothing was counted.")
        page = render_template("problem.html", problem=document, is_visit=is_visit)
        response = Response(page, status)
    else:
        response = Response(json.dumps(document) + "\n", status, mimetype=PROBLEM)
    response.headers["Cache-Control"] = "no-store"
    response.vary.add("Accept")
    # A retry without a key could count twice.
    can_retry = members.get("counted") != Outcome.UNKNOWN or "Idempotency-Key" in request.headers
    if status is _UNAVAILABLE and can_retry:
        response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


def _spooled(error: HitSpooledError) -> Response:
    if badge_response.is_badge_request():
        response = badge_response.error_badge(HTTPStatus.ACCEPTED, error.outcome)
        response.headers.update(HEADERS)
        return response
    mimetype = media_type(request.headers.get("Accept", ""))
    if mimetype == HTML:
        body = render_template("spooled.html")
    elif mimetype == TEXT:
        body = f"{error.outcome}\n"
    else:
        body = json.dumps({"counted": COUNTED_MEMBER[error.outcome]}) + "\n"
    return Response(body, HTTPStatus.ACCEPTED, mimetype=mimetype, headers=HEADERS)


def error_response(error: CounterError) -> Response:
    """Return the problem of an error of a counter. Errors of the server (5xx) are logged."""
    status, detail = _RESPONSES.get(
        type(error),
        (HTTPStatus.INTERNAL_SERVER_ERROR, "The counter failed; the log has the cause."),
    )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        record_failure(error)
    members = {"reason": IDEMPOTENCY_MEMORY} if isinstance(error, IdempotencyMemoryError) else {}
    counted = COUNTED_MEMBER[error.outcome]
    response = problem_response(status, detail or f"{error}.", counted=counted, **members)
    if isinstance(error, RateLimitExceededError):
        response.headers["Retry-After"] = str(math.ceil(error.retry_after))
    return response


def _http_error(error: HTTPException) -> Response | HTTPException:
    if error.code is None or error.code < 400:
        return error  # a redirect by the router
    response = problem_response(HTTPStatus(error.code), error.description or "")
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _bug(error: Exception) -> Response:
    record_failure(error)
    return problem_response(
        HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error; the log has the cause."
    )
