"""Routes of counters by name: list, read and hit; set and delete with the admin key."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, request, url_for
from werkzeug.exceptions import BadRequest, Forbidden

from ...errors import CounterNotFoundError
from ...extension.state import current_state
from ...validation import MAX_VALUE, MIN_VALUE, check_integer
from ..bearer_key import require_key
from ..concurrency import limit_concurrency
from ..negotiation import JSON, SVG, TEXT, media_type
from ..params import (
    get_integer,
    get_text,
    parse_amount,
    reject_unknown_params,
    require_url_safe_name,
)
from ..request_checks import read_body, reject_invalid_request
from ..responses import get_or_404, hit_response, make_conditional, value_response
from . import badges

#: Counters in one list, by default and at most.
PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000

# Sentinel: the key holds something that is not an integer.
_INVALID: Any = object()

blueprint = Blueprint("counters", __name__)
blueprint.before_request(reject_invalid_request)


@blueprint.get("/counters")
def index() -> Response:
    """List counters with their values, page by page, or those named in the query."""
    reject_unknown_params(request.args, "name", "after", "limit")
    counter = current_state().counter
    document: dict[str, Any] = {}
    if names := request.args.getlist("name"):
        if len(names) > MAX_PAGE_SIZE or "after" in request.args or "limit" in request.args:
            raise BadRequest(f"Send up to {MAX_PAGE_SIZE} names, or after and limit, not both.")
    else:
        limit = get_integer(request.args, "limit", 1, MAX_PAGE_SIZE, PAGE_SIZE)
        names = counter.names(after=get_text(request.args, "after", ""), limit=limit)
        if len(names) == limit:
            query = urlencode({"after": names[-1], "limit": limit})
            document["next"] = f"{url_for('counters.index')}?{query}"
    values = counter.values(names, default=None, invalid=_INVALID)
    items = [{"name": name, **_value_members(value)} for name, value in values.items()]
    return _conditional_response({"counters": items, **document})


@blueprint.get("/counters/<name>")
def read(name: str) -> Response:
    """Return a counter's value, as a badge if the client prefers a picture."""
    mimetype = media_type(request.headers.get("Accept", ""), SVG)
    if mimetype == SVG:
        badge = badges.read(name)
        badge.vary.add("Accept")
        return badge
    return make_conditional(value_response(mimetype, name, get_or_404(name)))


@blueprint.get("/counters/<name>.json")
def read_as_json(name: str) -> Response:
    """Return a counter's value as JSON."""
    return make_conditional(value_response(JSON, name, get_or_404(name)))


@blueprint.get("/counters/<name>.txt")
def read_as_text(name: str) -> Response:
    """Return a counter's value as bare text."""
    return make_conditional(value_response(TEXT, name, get_or_404(name)))


@blueprint.post("/counters/<name>/hits")
def hit(name: str) -> Response:
    """Count on a counter; create it if it does not exist and may be created."""
    mimetype = media_type(request.headers.get("Accept", ""))
    if request.content_length or read_body():
        raise BadRequest("Send the amount in the query, ?amount=7, and no body.")
    amount = parse_amount(request.args)
    return hit_response(
        mimetype, require_url_safe_name(name), amount, current_state().config.named_limits
    )


@blueprint.get("/counters/<name>/series")
@limit_concurrency()
def series(name: str) -> Response:
    """Return a counter's hits by day or by hour."""
    reject_unknown_params(request.args, "by", "days")
    unit: Any = get_text(request.args, "by", "day")
    days = get_integer(request.args, "days", 1, MAX_VALUE, 30 if unit == "day" else 2)
    points = current_state().counter.series(name, unit=unit, days=days)
    get_or_404(name)
    items = [point.as_dict(unit) for point in points]
    return _conditional_response({"name": name, "by": unit, "series": items})


@blueprint.put("/counters/<name>")
def put(name: str) -> Response:
    """Set a counter, or create it. ``If-None-Match: *`` sets it only if it does not exist."""
    _require_admin()
    reject_unknown_params(request.args)
    condition = _condition()
    if condition not in (None, "*"):
        raise BadRequest("Unsupported condition: send If-None-Match: * or none.")
    value = _parse_value(read_body())
    state = current_state()
    limit = state.config.max_counters
    old = state.counter.set(
        require_url_safe_name(name), value, max_counters=limit, if_absent=condition == "*"
    )
    response = _json_response({"name": name, "value": value, "was": old})
    if old is None:
        response.status_code = HTTPStatus.CREATED
        response.headers["Location"] = url_for("counters.read", name=name)
    return response


@blueprint.delete("/counters/<name>")
def delete(name: str) -> Response:
    """Delete a counter with its days and hours."""
    _require_admin()
    reject_unknown_params(request.args)
    if _condition() is not None:
        raise BadRequest("DELETE supports no condition: send neither If-Match nor If-None-Match.")
    old = current_state().counter.delete(require_url_safe_name(name))
    if old is None:
        raise CounterNotFoundError(name)
    return _json_response({"name": name, "was": old})


def _value_members(value: Any) -> dict[str, Any]:
    return {"value": None, "broken": True} if value is _INVALID else {"value": value}


def _parse_value(text: bytes) -> int:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    value = document.get("value") if isinstance(document, dict) else None
    if not isinstance(value, int | float) or len(document) != 1:
        raise BadRequest('Send a JSON document: {"value": 7}.')
    return check_integer(value, MIN_VALUE)


def _condition() -> str | None:
    """Return the condition of a change. An unsupported one must be rejected, not ignored."""
    headers = request.headers
    return "If-Match" if "If-Match" in headers else headers.get("If-None-Match")


def _require_admin() -> None:
    key = current_state().config.admin_key
    if key is None:
        raise Forbidden("Counters cannot be changed: set COUNTER_ADMIN_KEY to allow it.")
    require_key(key, "COUNTER_ADMIN_KEY", "counters")


def _json_response(document: dict[str, Any]) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(json.dumps(document) + "\n", HTTPStatus.OK, mimetype=JSON, headers=headers)


def _conditional_response(document: dict[str, Any]) -> Response:
    return make_conditional(_json_response(document))
