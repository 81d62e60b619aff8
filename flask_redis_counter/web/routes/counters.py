"""Counters by name: read, hit, and for who has the admin key, set and delete."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, request, url_for
from werkzeug.exceptions import BadRequest, Forbidden

from ...errors import UnknownCounterError
from ...extension.state import current_state
from ...validation import MAX_VALUE, MIN_VALUE, check_integer
from ..bearer_key import require_key
from ..expensive import costly
from ..negotiation import JSON, SVG, TEXT, media_type
from ..representations import amount_in, integer_in, only, plain, text_in
from ..responses import body, counted, hold_back, kept, stands_at, value_of
from . import badges

#: How many counters one list has, unless it is asked for fewer, and at the most.
LISTED = 100
MOST_LISTED = 1000

# Stands for a value where the key holds something else: the others on the page are as they are.
_BROKEN: Any = object()

blueprint = Blueprint("counters", __name__)
blueprint.before_request(hold_back)


@blueprint.get("/counters")
def index() -> Response:
    """List the counters with their values, a page at a time, or those that are asked for."""
    only(request.args, "name", "after", "limit")
    counter = current_state().counter
    document: dict[str, Any] = {}
    if names := request.args.getlist("name"):
        if len(names) > MOST_LISTED or "after" in request.args or "limit" in request.args:
            raise BadRequest(f"Ask for up to {MOST_LISTED} names, or for a page.")
    else:
        limit = integer_in(request.args, "limit", 1, MOST_LISTED, LISTED)
        names = counter.names(after=text_in(request.args, "after", ""), most=limit)
        if len(names) == limit:
            query = urlencode({"after": names[-1], "limit": limit})
            document["next"] = f"{url_for('counters.index')}?{query}"
    values = counter.values(names, default=None, broken=_BROKEN)
    listed = [{"name": name, **_shown(value)} for name, value in values.items()]
    return _read({"counters": listed, **document})


@blueprint.get("/counters/<name>")
def read(name: str) -> Response:
    """Answer a counter's value, to who wants a picture as a badge."""
    form = media_type(request.headers.get("Accept", ""), SVG)
    if form == SVG:
        badge = badges.read(name)
        badge.vary.add("Accept")
        return badge
    return kept(stands_at(form, name, value_of(name)))


@blueprint.get("/counters/<name>.json")
def read_as_json(name: str) -> Response:
    """Answer a counter's value as JSON."""
    return kept(stands_at(JSON, name, value_of(name)))


@blueprint.get("/counters/<name>.txt")
def read_as_text(name: str) -> Response:
    """Answer a counter's value as bare text."""
    return kept(stands_at(TEXT, name, value_of(name)))


@blueprint.post("/counters/<name>/hits")
def hit(name: str) -> Response:
    """Count on a counter; where there is none it is made, if that is allowed."""
    form = media_type(request.headers.get("Accept", ""))
    if request.content_length or body():
        raise BadRequest("Say the amount in the query, ?amount=7, and send no body.")
    amount = amount_in(request.args)
    return counted(form, plain(name), amount, current_state().config.named_terms)


@blueprint.get("/counters/<name>/series")
@costly()
def series(name: str) -> Response:
    """Answer a counter's days, or their hours."""
    only(request.args, "by", "days")
    unit: Any = text_in(request.args, "by", "day")
    days = integer_in(request.args, "days", 1, MAX_VALUE, 30 if unit == "day" else 2)
    points = current_state().counter.series(name, unit=unit, days=days)
    value_of(name)
    listed = [point.as_dict(unit) for point in points]
    return _read({"name": name, "by": unit, "series": listed})


@blueprint.put("/counters/<name>")
def put(name: str) -> Response:
    """Set a counter, which is made where there is none; ``If-None-Match: *`` only makes one."""
    _require_admin()
    only(request.args)
    condition = _condition()
    if condition not in (None, "*"):
        raise BadRequest("The one condition that this takes is If-None-Match: *")
    value = _value_in(body())
    state = current_state()
    limit = state.config.max_counters
    old = state.counter.set(plain(name), value, max_counters=limit, only_new=condition == "*")
    response = _plain({"name": name, "value": value, "was": old})
    if old is None:
        response.status_code = HTTPStatus.CREATED
        response.headers["Location"] = url_for("counters.read", name=name)
    return response


@blueprint.delete("/counters/<name>")
def delete(name: str) -> Response:
    """Delete a counter with its days and hours."""
    _require_admin()
    only(request.args)
    if _condition() is not None:
        raise BadRequest("This takes no condition.")
    old = current_state().counter.delete(plain(name))
    if old is None:
        raise UnknownCounterError(name)
    return _plain({"name": name, "was": old})


def _shown(value: Any) -> dict[str, Any]:
    return {"value": None, "broken": True} if value is _BROKEN else {"value": value}


def _value_in(text: bytes) -> int:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    value = document.get("value") if isinstance(document, dict) else None
    if not isinstance(value, int | float) or len(document) != 1:
        raise BadRequest('Send a JSON document: {"value": 7}.')
    return check_integer(value, MIN_VALUE)


def _condition() -> str | None:
    """Return the condition under which a change is wanted; none is to be ignored."""
    headers = request.headers
    return "If-Match" if "If-Match" in headers else headers.get("If-None-Match")


def _require_admin() -> None:
    key = current_state().config.admin_key
    if key is None:
        raise Forbidden("Nobody may change counters here: no COUNTER_ADMIN_KEY is set.")
    require_key(key, "COUNTER_ADMIN_KEY", "counters")


def _plain(document: dict[str, Any]) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(json.dumps(document) + "\n", HTTPStatus.OK, mimetype=JSON, headers=headers)


def _read(document: dict[str, Any]) -> Response:
    return kept(_plain(document))
