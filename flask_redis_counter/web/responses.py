"""What the views answer about one counter, in whatever form."""

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
from .request_log import OUTAGE_LOG


def record_visit(name: str, amount: int, limits: Limits) -> tuple[Hit, str | None]:
    """Count, where the request is a visit, and return what became of it.

    :returns: the hit, and why it did not count if it did not.
    """
    state = current_state()
    idempotency_key = parse_idempotency_key(request.headers.get("Idempotency-Key"))
    limits = state.visit_filter.adjust_limits(limits, idempotency_key, request.headers.get)
    visit = HitRequest.parse(request, state)
    hit, reason = visit.hit(
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
