"""Routes of badges: SVG for READMEs and pages without scripts, and JSON for shields.io."""

from __future__ import annotations

import json

from flask import Blueprint, Response, request

from ...errors import CounterError
from ...extension.state import current_state
from ..badge_response import badge_response, error_label
from ..badge_style import parse_style
from ..badge_svg import Badge
from ..negotiation import JSON
from ..params import require_url_safe_name
from ..problems import error_response
from ..representations import HEADERS, hit_headers
from ..request_checks import reject_invalid_request
from ..responses import get_or_404, make_conditional, record_visit

#: Seconds for which shields.io may cache a response: the minimum that it accepts.
#: https://shields.io/badges/endpoint-badge
CACHE_SECONDS = 300

blueprint = Blueprint("badges", __name__)
blueprint.before_request(reject_invalid_request)


@blueprint.get("/counters/<name>.svg")
def read(name: str) -> Response:
    """Draw a counter's value."""
    style = parse_style(request.args, name)
    return make_conditional(badge_response(style.value_badge(get_or_404(name))))


@blueprint.get("/hit/<name>.svg")
def hit(name: str) -> Response:
    """Count, and draw the new value. HEAD only reads."""
    style = parse_style(request.args, require_url_safe_name(name))
    if request.method == "HEAD":
        return badge_response(style.value_badge(get_or_404(name)), headers=HEADERS)
    hit, _ = record_visit(name, 1, current_state().config.named_limits)
    # If this was not a visit, the counter may not exist, and a zero would claim that it does.
    value = hit.value if hit.counted else get_or_404(name)
    return badge_response(style.value_badge(value), headers=hit_headers(hit))


@blueprint.get("/counters/<name>/shields.json")
def shields(name: str) -> Response:
    """Return the JSON for a badge of shields.io, which needs a 200 even without a value."""
    style = parse_style(request.args, name)
    try:
        badge = style.value_badge(get_or_404(name))
        return make_conditional(_shields_response(badge, is_error=False))
    except CounterError as error:
        label = error_label(error_response(error).status_code)
        return _shields_response(style.placeholder(label), is_error=True)


def _shields_response(badge: Badge, *, is_error: bool) -> Response:
    document = {
        "schemaVersion": 1,
        "label": badge.label.text,
        "message": badge.message.text,
        "color": badge.message.color,
        "labelColor": badge.label.color,
        "isError": is_error,
        "cacheSeconds": CACHE_SECONDS,
    }
    headers = {"Cache-Control": "no-store"}
    return Response(json.dumps(document) + "\n", mimetype=JSON, headers=headers)
