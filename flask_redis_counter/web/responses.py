"""What the views answer about one counter, in whatever form."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response, current_app, render_template, request
from werkzeug.exceptions import (
    BadRequest,
    ClientDisconnected,
    LengthRequired,
    PreconditionFailed,
    RequestEntityTooLarge,
)

from .. import hosts
from ..counting.hit import Hit
from ..errors import CounterNotFoundError
from ..extension.state import current_state
from ..extension.visits import HitRequest
from ..limits import Limits
from .negotiation import HTML, TEXT
from .representations import HEADERS, hit_headers, parse_idempotency_key, render_json
from .request_log import OUTAGE_LOG


def reject_invalid_request() -> None:
    """Answer 4xx to a request that is malformed or too large, before anything counts."""
    if not hosts.is_allowed_host(request.headers.get("Host"), current_state().config.trusted_hosts):
        raise BadRequest(
            "The Host header is malformed, or names a host that this is not. Send ASCII (xn--… for "
            "an international name) and a port from 1 to 65535."
        )
    if "Transfer-Encoding" in request.headers and request.headers.get("Content-Length"):
        raise BadRequest("Send Transfer-Encoding or Content-Length, not both.")
    # Only the announced length is looked at: waiting for a slow body would block a thread.
    if (request.content_length or 0) > current_app.config["MAX_CONTENT_LENGTH"]:
        raise RequestEntityTooLarge


def body() -> bytes:
    """Return the request's body, however its length is told; most views ignore it unread.

    :raises LengthRequired: it is chunked, and the server does not say where it ends.
    :raises RequestEntityTooLarge: it is too large.
    :raises BadRequest: it did not arrive whole.
    """
    if "Transfer-Encoding" in request.headers and not request.environ.get("wsgi.input_terminated"):
        raise LengthRequired("This server reads no chunked body: send a Content-Length.")
    try:
        data = request.get_data()
    except ClientDisconnected as error:
        raise BadRequest("The body did not arrive whole.") from error
    # Werkzeug cuts off a body of unknown length at the limit.
    if request.content_length is None and len(data) >= current_app.config["MAX_CONTENT_LENGTH"]:
        raise RequestEntityTooLarge
    return data


def record_visit(name: str, amount: int, limits: Limits) -> tuple[Hit, str | None]:
    """Count, where the request is a visit, and return what became of it.

    :returns: the hit, and why it did not count if it did not.
    """
    state = current_state()
    idempotency_key = parse_idempotency_key(request.headers.get("Idempotency-Key"))
    limits = state.screen.limits(limits, idempotency_key, request.headers.get)
    asked = HitRequest.of(request, state)
    hit, reason = asked.count(
        state.counter, name, amount, idempotency_key=idempotency_key, limits=limits
    )
    if hit.counted:
        current_app.extensions[OUTAGE_LOG].recovered()
    return hit, reason


def hit_response(form: str, name: str, amount: int, limits: Limits) -> Response:
    """Count, and answer the value."""
    hit, reason = record_visit(name, amount, limits)
    body = _render(form, name, hit.value, counted=hit.counted, reason=reason)
    return Response(body, mimetype=form, headers=hit_headers(hit))


def value_response(form: str, name: str, value: int) -> Response:
    """Answer a value that was read."""
    body = _render(form, name, value, counted=False)
    return Response(body, mimetype=form, headers=HEADERS)


def get_or_404(name: str) -> int:
    """Return what a counter stands at.

    :raises CounterNotFoundError: there is none of that name.
    """
    value: int | None = current_state().counter.value(name, None)
    if value is None:
        raise CounterNotFoundError(name)
    return value


def make_conditional(response: Response) -> Response:
    """Let the client keep what it reads, and ask whether it still holds: 304.

    :raises PreconditionFailed: the client wants it only where it holds (``If-Match``).
    """
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    etag = response.get_etag()[0] or ""
    # Not make_conditional: its 412 is no problem document, also to "If-Match: *".
    if request.if_match and etag not in request.if_match:
        raise PreconditionFailed("This is no longer what If-Match says.")
    if request.if_none_match.contains_weak(etag):
        response.status_code = HTTPStatus.NOT_MODIFIED
    return response


def _render(form: str, name: str, value: int, *, counted: bool, reason: str | None = None) -> str:
    if form == HTML:
        about = {"name": name, "value": value, "counted": counted, "reason": reason}
        each_time = current_state().config.limits.visitor_window is None
        return render_template("count.html", **about, each_time=each_time)
    if form == TEXT:
        return f"{value}\n"
    return render_json(name, value, counted=counted, reason=reason)
