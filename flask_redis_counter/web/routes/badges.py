"""Counters as pictures, for READMEs and pages without scripts; and for shields.io."""

from __future__ import annotations

import json

from flask import Blueprint, Response, request

from ...errors import CounterError
from ...extension.state import current_state
from ..badge_response import badge_response, error_label, parse_style
from ..badge_svg import Badge
from ..negotiation import JSON
from ..problems import error_response
from ..representations import HEADERS, hit_headers, require_url_safe_name
from ..responses import get_or_404, make_conditional, record_visit, reject_invalid_request

#: For how many seconds shields.io may keep an answer: the fewest that it takes for an answer.
#: https://shields.io/badges/endpoint-badge
CACHE_SECONDS = 300

blueprint = Blueprint("badges", __name__)
blueprint.before_request(reject_invalid_request)


@blueprint.get("/counters/<name>.svg")
def read(name: str) -> Response:
    """Draw what a counter stands at."""
    return make_conditional(badge_response(parse_style(request.args, name).badge(get_or_404(name))))


@blueprint.get("/hit/<name>.svg")
def hit(name: str) -> Response:
    """Count, and draw the new value; HEAD reads."""
    look = parse_style(request.args, require_url_safe_name(name))
    if request.method == "HEAD":
        return badge_response(look.badge(get_or_404(name)), headers=HEADERS)
    hit, _ = record_visit(name, 1, current_state().config.named_limits)
    # Where this was no visit, there may be no counter yet, and a zero would say that there is.
    value = hit.value if hit.counted else get_or_404(name)
    return badge_response(look.badge(value), headers=hit_headers(hit))


@blueprint.get("/counters/<name>/shields.json")
def shields(name: str) -> Response:
    """Answer what shields.io makes a badge of; it wants a 200 also where there is no value."""
    look = parse_style(request.args, name)
    try:
        return make_conditional(_for_shields(look.badge(get_or_404(name)), failed=False))
    except CounterError as error:
        return _for_shields(look.word(error_label(error_response(error).status_code)), failed=True)


def _for_shields(badge: Badge, *, failed: bool) -> Response:
    document = {
        "schemaVersion": 1,
        "label": badge.label.text,
        "message": badge.message.text,
        "color": badge.message.color,
        "labelColor": badge.label.color,
        "isError": failed,
        "cacheSeconds": CACHE_SECONDS,
    }
    headers = {"Cache-Control": "no-store"}
    return Response(json.dumps(document) + "\n", mimetype=JSON, headers=headers)
