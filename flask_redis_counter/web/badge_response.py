"""Badges as responses: for a value, and in place of every problem of a picture's request.

A picture is shown by a page or by an image proxy, and both show nothing where the status is not
200: GitHub's proxy answers 404 or 502 instead. So a picture always has the status 200, and its
headers say what went wrong: https://github.com/badges/shields/pull/11479
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, get_args

from flask import Response, render_template, request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import HTTPException

from .badge_svg import COLORS, Badge, Format, Side, format_number, parse_color
from .negotiation import SVG, media_type

#: The largest number of characters of a label.
MAX_LABEL = 64

#: The query parameters that a badge reads.
PARAMETERS = ("label", "color", "label_color", "format")

#: Response header: the status that the same request has where it is not for a picture.
STATUS = "Counter-Status"

#: Response header: whether the visit was counted, in the words of the JSON documents.
COUNTED = "Counted"

_ERROR_LABELS = {
    HTTPStatus.ACCEPTED: "noted",
    HTTPStatus.NOT_FOUND: "unknown",
    HTTPStatus.CONFLICT: "full",
    HTTPStatus.TOO_MANY_REQUESTS: "too often",
    HTTPStatus.NOT_IMPLEMENTED: "unavailable",
    HTTPStatus.SERVICE_UNAVAILABLE: "unavailable",
}
_PATH = re.compile(r"/(?:counters|hit|stats)/(.*)\.svg", re.DOTALL)


@dataclass(frozen=True, slots=True)
class BadgeStyle:
    """Label, colours and number format of a badge."""

    label: str
    color: str
    label_color: str
    form: Format

    def badge(self, value: int) -> Badge:
        """Return the badge of a value."""
        return self._with(Side(format_number(value, self.form), self.color))

    def word(self, word: str) -> Badge:
        """Return the badge that has a word in place of a value."""
        return self._with(Side(word, COLORS["lightgrey"]))

    def _with(self, message: Side) -> Badge:
        return Badge(Side(self.label, self.label_color), message)


def parse_style(query: MultiDict[str, str], name: str) -> BadgeStyle:
    """Return the look that a query asks for; a picture never fails because of its query.

    Unknown parameters are ignored, the first of several counts, and an unreadable value is the
    default.

    :param name: the counter, which is the default of the label.
    """
    form: Any = query.get("format", "plain")
    return BadgeStyle(
        parse_label(query.get("label", name)),
        parse_color(query.get("color", "")) or COLORS["blue"],
        parse_color(query.get("label_color", "")) or COLORS["grey"],
        form if form in get_args(Format) else "plain",
    )


def parse_label(text: str) -> str:
    """Return a label without what cannot be seen, of :data:`MAX_LABEL` characters or fewer."""
    # A picture shows several blanks as one, whose width counts once.
    shown = "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
    return shown[:MAX_LABEL]


def error_label(status: int) -> str:
    """Return the word that a badge has in place of a value."""
    given = HTTPStatus(status)
    return _ERROR_LABELS.get(
        given, "invalid" if given < HTTPStatus.INTERNAL_SERVER_ERROR else "broken"
    )


def badge_response(badge: Badge, *, headers: dict[str, str] | None = None) -> Response:
    """Return the response of a badge."""
    return Response(render_template("badge.svg", badge=badge), mimetype=SVG, headers=headers)


def is_badge_request() -> bool:
    """Whether the current request is for a picture."""
    if request.method not in ("GET", "HEAD"):
        return False
    if _PATH.fullmatch(request.path):
        return True
    if request.endpoint != "counters.read":
        return False
    try:
        return media_type(request.headers.get("Accept", ""), SVG) == SVG
    except HTTPException:
        return False


def error_badge(status: HTTPStatus, counted: str) -> Response:
    """Return the picture that says in a word why there is no value.

    :param status: the status that the answer has where no picture is wanted.
    :param counted: whether the visit was counted.
    """
    path = _PATH.fullmatch(request.path)
    name = path[1] if path else (request.view_args or {}).get("name", "")
    response = badge_response(parse_style(request.args, name).word(error_label(status)))
    response.headers[STATUS] = str(status.value)
    if request.path.startswith("/hit/"):
        response.headers[COUNTED] = counted
    return response
