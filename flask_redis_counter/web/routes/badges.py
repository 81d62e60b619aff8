"""Counters as pictures, for READMEs and pages without scripts; and for shields.io."""

from __future__ import annotations

import json

from flask import Blueprint, Response, request

from ...errors import CounterError
from ...extension.state import current_state
from ..badge_response import drawn, look_in, word_for
from ..badge_svg import Badge
from ..negotiation import JSON
from ..problems import answer_to
from ..representations import HEADERS, headers_of, plain
from ..responses import hold_back, kept, value_of, visit

#: For how many seconds shields.io may keep an answer: the fewest that it takes for an answer.
#: https://shields.io/badges/endpoint-badge
CACHE_SECONDS = 300

blueprint = Blueprint("badges", __name__)
blueprint.before_request(hold_back)


@blueprint.get("/counters/<name>.svg")
def read(name: str) -> Response:
    """Draw what a counter stands at."""
    return kept(drawn(look_in(request.args, name).badge(value_of(name))))


@blueprint.get("/hit/<name>.svg")
def hit(name: str) -> Response:
    """Count, and draw the new value; HEAD reads."""
    look = look_in(request.args, plain(name))
    if request.method == "HEAD":
        return drawn(look.badge(value_of(name)), headers=HEADERS)
    hit, _ = visit(name, 1, current_state().config.named_terms)
    # Where this was no visit, there may be no counter yet, and a zero would say that there is.
    value = hit.value if hit.counted else value_of(name)
    return drawn(look.badge(value), headers=headers_of(hit))


@blueprint.get("/counters/<name>/shields.json")
def shields(name: str) -> Response:
    """Answer what shields.io makes a badge of; it wants a 200 also where there is no value."""
    look = look_in(request.args, name)
    try:
        return kept(_for_shields(look.badge(value_of(name)), failed=False))
    except CounterError as error:
        return _for_shields(look.word(word_for(answer_to(error).status_code)), failed=True)


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
