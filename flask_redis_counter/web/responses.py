"""Responses about one counter, as JSON, text or HTML."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response, current_app, render_template, request
from werkzeug.exceptions import PreconditionFailed

from ..counting.hit import Hit
from ..errors import CounterNotFoundError
from ..extension.state import current_state
from ..extension.visits import HitRequest
from ..limits import Limits
from .negotiation import HTML, TEXT
from .params import parse_idempotency_key
from .representations import HEADERS, hit_headers, render_json
from .request_log import OUTAGE_LOG_KEY


def record_visit(name: str, amount: int, limits: Limits) -> tuple[Hit, str | None]:
    """Count the current request if it is a visit; read the counter otherwise.

    :returns: the hit, and the reason if it was not counted.
    """
    state = current_state()
    idempotency_key = parse_idempotency_key(request.headers.get("Idempotency-Key"))
    limits = state.visit_filter.adjust_limits(limits, idempotency_key, request.headers.get)
    hit_request = HitRequest.parse(request, state)
    hit, reason = hit_request.hit(
        state.counter, name, amount, idempotency_key=idempotency_key, limits=limits
    )
    if hit.counted:
        current_app.extensions[OUTAGE_LOG_KEY].recovered()
    return hit, reason


def hit_response(media_type: str, name: str, amount: int, limits: Limits) -> Response:
    """Count, and return a response with the new value."""
    hit, reason = record_visit(name, amount, limits)
    body = _render(media_type, name, hit.value, counted=hit.counted, reason=reason)
    return Response(body, mimetype=media_type, headers=hit_headers(hit))


def value_response(media_type: str, name: str, value: int) -> Response:
    """Return a response with a value that was read."""
    body = _render(media_type, name, value, counted=False)
    return Response(body, mimetype=media_type, headers=HEADERS)


def get_or_404(name: str) -> int:
    """Return a counter's value.

    :raises CounterNotFoundError: the counter does not exist.
    """
    value: int | None = current_state().counter.value(name, None)
    if value is None:
        raise CounterNotFoundError(name)
    return value


def make_conditional(response: Response) -> Response:
    """Add an ETag; return 304 if the client's copy is still valid (``If-None-Match``).

    :raises PreconditionFailed: the ETag is not in ``If-Match``.
    """
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    etag = response.get_etag()[0] or ""
    # Werkzeug's make_conditional answers 412 without a problem document, also to "If-Match: *".
    if request.if_match and etag not in request.if_match:
        raise PreconditionFailed(
            "The resource has changed since the ETag in If-Match: read it again."
        )
    if request.if_none_match.contains_weak(etag):
        response.status_code = HTTPStatus.NOT_MODIFIED
    return response


def _render(
    media_type: str, name: str, value: int, *, counted: bool, reason: str | None = None
) -> str:
    if media_type == HTML:
        return render_template(
            "count.html",
            name=name,
            value=value,
            counted=counted,
            reason=reason,
            reload_counts=current_state().config.limits.visitor_window is None,
        )
    if media_type == TEXT:
        return f"{value}\n"
    return render_json(name, value, counted=counted, reason=reason)
