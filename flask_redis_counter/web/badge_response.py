"""Badges as HTTP responses, which also replace every error response to a picture's request.

Pages and image proxies show nothing if the status is not 200: GitHub's proxy answers 404 or 502
instead. So a picture always has the status 200, and its headers carry the real status:
https://github.com/badges/shields/pull/11479
"""

from __future__ import annotations

import re
from http import HTTPStatus

from flask import Response, render_template, request
from werkzeug.exceptions import HTTPException

from .badge_style import parse_style
from .badge_svg import Badge
from .negotiation import SVG, media_type

#: Response header: the status that the same request has in another format than a picture.
STATUS = "Counter-Status"

#: Response header: the outcome of the visit, with the values of the JSON member ``counted``.
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


def error_label(status: int) -> str:
    """Return the text that a badge shows in place of a value."""
    default = "invalid" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "broken"
    return _ERROR_LABELS.get(HTTPStatus(status), default)


def badge_response(badge: Badge, *, headers: dict[str, str] | None = None) -> Response:
    """Return the response of a badge."""
    return Response(render_template("badge.svg", badge=badge), mimetype=SVG, headers=headers)


def is_badge_request() -> bool:
    """Return whether the current request is for a picture."""
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
    """Return the badge that shows an error label in place of a value.

    :param status: the status that the response has in another format than a picture.
    :param counted: the outcome of the visit, for the header :data:`COUNTED`.
    """
    path = _PATH.fullmatch(request.path)
    name = path[1] if path else (request.view_args or {}).get("name", "")
    response = badge_response(parse_style(request.args, name).placeholder(error_label(status)))
    response.headers[STATUS] = str(status.value)
    if request.path.startswith("/hit/"):
        response.headers[COUNTED] = counted
    return response
