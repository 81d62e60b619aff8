"""Counters as pictures, for READMEs and pages without scripts; and for shields.io."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, get_args

from flask import Blueprint, Response, render_template, request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest

from ..errors import CounterError, SpooledError
from ..rules import check_name
from ..state import current_state
from .answers import hold_back, kept, value_of, visit
from .badge import COLORS, Badge, Format, Side, color_of, written
from .counting import HEADERS, headers_of, only, plain, text_in
from .errors import answer_to
from .negotiation import JSON, SVG

#: Characters that a label may have.
LONGEST_LABEL = 64

#: What a badge may be asked for.
PARAMETERS = ("label", "color", "label_color", "format")

#: For how many seconds shields.io may keep an answer: the fewest that it takes for an answer.
#: https://shields.io/badges/endpoint-badge
CACHE_SECONDS = 300

#: What there is instead of a number, under the status that a problem would have.
WORDS = {
    HTTPStatus.NOT_FOUND: "unknown",
    HTTPStatus.CONFLICT: "full",
    HTTPStatus.TOO_MANY_REQUESTS: "too often",
    HTTPStatus.INTERNAL_SERVER_ERROR: "broken",
    HTTPStatus.SERVICE_UNAVAILABLE: "unavailable",
}

blueprint = Blueprint("badges", __name__)
blueprint.before_request(hold_back)


@dataclass(frozen=True, slots=True)
class Look:
    """How a badge is to look."""

    label: str
    color: str
    label_color: str
    form: Format

    def badge(self, value: int) -> Badge:
        """Return the badge of a value."""
        return self._with(Side(written(value, self.form), self.color))

    def excuse(self, word: str) -> Badge:
        """Return the badge that says why there is no value."""
        return self._with(Side(word, COLORS["lightgrey"]))

    def _with(self, message: Side) -> Badge:
        return Badge(Side(self.label, self.label_color), message)


@blueprint.get("/counters/<name>.svg")
def read(name: str) -> Response:
    """Draw what a counter stands at."""
    look = look_in(request.args, name)
    return kept(_drawn(look.badge(value_of(name))))


@blueprint.get("/hit/<name>.svg")
def hit(name: str) -> Response:
    """Count, and draw the new value; HEAD reads."""
    look = look_in(request.args, plain(name))
    if request.method == "HEAD":
        return _drawn(look.badge(value_of(name)), headers=HEADERS)
    hit, _ = visit(name, 1, current_state().config.named_terms)
    # Where this was no visit, there may be no counter yet, and a zero would say that there is.
    value = hit.value if hit.counted else value_of(name)
    return _drawn(look.badge(value), headers=headers_of(hit))


@blueprint.get("/counters/<name>/shields.json")
def shields(name: str) -> Response:
    """Answer what shields.io makes a badge of; it wants a 200 also where there is no value."""
    look = look_in(request.args, name)
    try:
        return kept(_for_shields(look.badge(value_of(name)), failed=False))
    except CounterError as error:
        if word := WORDS.get(HTTPStatus(answer_to(error).status_code)):
            return _for_shields(look.excuse(word), failed=True)
        raise


@blueprint.errorhandler(CounterError)
def _excused(error: CounterError) -> Response:
    """Draw the word for what happened, with status and headers of the problem."""
    arguments: Any = request.view_args
    if isinstance(error, SpooledError):
        badge = look_in(request.args, **arguments).excuse("noted")
        return _drawn(badge, HTTPStatus.ACCEPTED, headers=HEADERS)
    response = answer_to(error)
    if word := WORDS.get(HTTPStatus(response.status_code)):
        response.mimetype = SVG
        response.set_data(_svg(look_in(request.args, **arguments).excuse(word)))
    return response


def look_in(query: MultiDict[str, str], name: str) -> Look:
    """Return how a badge is to look, given a query.

    :param name: the counter, which is the label where the query has none.
    :raises InvalidNameError: the name is outside the rules.
    :raises BadRequest: something is malformed, there twice, or unknown here.
    """
    check_name(name)
    only(query, *PARAMETERS)
    form: Any = text_in(query, "format", "plain")
    if form not in get_args(Format):
        raise BadRequest(f"There is no such format: choose {', '.join(get_args(Format))}.")
    return Look(
        label_of(text_in(query, "label", name)),
        _color(query, "color", "blue"),
        _color(query, "label_color", "grey"),
        form,
    )


def label_of(text: str) -> str:
    """Return a label as it is shown.

    :raises BadRequest: it is too long, or has what cannot be seen.
    """
    # A picture shows several blanks as one, whose width counts once.
    label = " ".join(text.split())
    if len(label) > LONGEST_LABEL or not label.isprintable():
        raise BadRequest(f"A label has up to {LONGEST_LABEL} printable characters.")
    return label


def _color(query: MultiDict[str, str], name: str, default: str) -> str:
    color = color_of(text_in(query, name, default))
    if color is None:
        raise BadRequest(f"The {name} is 3 or 6 hexadecimal digits, or of {', '.join(COLORS)}.")
    return color


def _drawn(
    badge: Badge, status: HTTPStatus = HTTPStatus.OK, *, headers: dict[str, str] | None = None
) -> Response:
    return Response(_svg(badge), status, mimetype=SVG, headers=headers)


def _svg(badge: Badge) -> str:
    return render_template("badge.svg", badge=badge)


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
