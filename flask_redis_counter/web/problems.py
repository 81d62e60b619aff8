"""From errors to answers, in one place: problem documents (RFC 9457), or a page for a browser."""

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

#: The form of an error for programs.
PROBLEM = "application/problem+json"

#: Seconds after which a client may try again.
RETRY_AFTER = 1

# On a page of these it says what became of the visit; the others only read.
_VISITS = frozenset({"counter.count", "counters.hit"})

# What a client is told; the log has the cause, which may name hosts and keys.
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
        f"The counter would pass {MAX_VALUE}. Nothing was counted.",
    ),
    NotAnIntegerError: (
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The store holds something that is no integer where this counter should be. "
        "It was left untouched.",
    ),
    StoreUnavailableError: (_UNAVAILABLE, "The store cannot be reached. Nothing was counted."),
    StoreRejectedError: (_UNAVAILABLE, "The store refused the command. Nothing was counted."),
    DurabilityUnsupportedError: (_UNAVAILABLE, "The store is set up wrongly. Nothing was counted."),
    OutcomeUnknownError: (
        _UNAVAILABLE,
        "The store gave no answer that would settle it. The visit may have been counted.",
    ),
}


def init_app(app: Flask) -> None:
    """Let the app answer every error as a problem."""
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(HitSpooledError, _spooled)
    app.register_error_handler(CounterError, error_response)
    app.register_error_handler(Exception, _bug)


def problem_response(status: HTTPStatus, detail: str, **members: Any) -> Response:
    """Answer a problem document, or a page or a picture that says the same.

    :param members: further members of the document.
    """
    document = {"type": "about:blank", "title": status.phrase, "status": status.value}
    document |= {"detail": detail, **members}
    if badge_response.is_badge_request():
        response = badge_response.error_badge(status, str(members.get("counted", False)).lower())
    elif wants_page(request.headers.get("Accept", "")):
        visit = request.endpoint in _VISITS
        if not visit:
            document["detail"] = detail.removesuffix(" Nothing was counted.")
        page = render_template("problem.html", problem=document, visit=visit)
        response = Response(page, status)
    else:
        response = Response(json.dumps(document) + "\n", status, mimetype=PROBLEM)
    response.headers["Cache-Control"] = "no-store"
    response.vary.add("Accept")
    # Without a key, who obeys it may count twice.
    repeatable = members.get("counted") != Outcome.UNKNOWN or "Idempotency-Key" in request.headers
    if status is _UNAVAILABLE and repeatable:
        response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


def _spooled(error: HitSpooledError) -> Response:
    if badge_response.is_badge_request():
        response = badge_response.error_badge(HTTPStatus.ACCEPTED, error.outcome)
        response.headers.update(HEADERS)
        return response
    form = media_type(request.headers.get("Accept", ""))
    if form == HTML:
        body = render_template("spooled.html")
    elif form == TEXT:
        body = f"{error.outcome}\n"
    else:
        body = json.dumps({"counted": COUNTED_MEMBER[error.outcome]}) + "\n"
    return Response(body, HTTPStatus.ACCEPTED, mimetype=form, headers=HEADERS)


def error_response(error: CounterError) -> Response:
    """Answer what became of a counter as a problem; what is not the client's fault is logged."""
    status, detail = _RESPONSES.get(
        type(error), (HTTPStatus.INTERNAL_SERVER_ERROR, "The counter failed.")
    )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        record_failure(error)
    members = {"reason": IDEMPOTENCY_MEMORY} if isinstance(error, IdempotencyMemoryError) else {}
    counted = COUNTED_MEMBER[error.outcome]
    response = problem_response(status, detail or f"{error}.", counted=counted, **members)
    if isinstance(error, RateLimitExceededError):
        response.headers["Retry-After"] = str(math.ceil(error.seconds))
    return response


def _http_error(error: HTTPException) -> Response | HTTPException:
    if error.code is None or error.code < 400:
        return error  # a redirect of the router
    response = problem_response(HTTPStatus(error.code), error.description or "")
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _bug(error: Exception) -> Response:
    record_failure(error)
    return problem_response(
        HTTPStatus.INTERNAL_SERVER_ERROR, "Something is wrong here; the log says what."
    )
