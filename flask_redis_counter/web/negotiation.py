"""Content negotiation: the media type of a response, from ``Accept`` (RFC 9110, section 12)."""

from __future__ import annotations

import re
from functools import lru_cache

from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import BadRequest, HTTPException, NotAcceptable
from werkzeug.http import parse_accept_header

JSON = "application/json"
HTML = "text/html"
TEXT = "text/plain"
SVG = "image/svg+xml"

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_VALUE = rf'(?:{_WORD}|"(?:[^"\\]|\\.)*")'
# Java's HttpURLConnection sends a lone "*".
_RANGE = rf"\s*(?:{_WORD}/{_WORD}|\*)(?:\s*;\s*{_WORD}\s*=\s*{_VALUE})*\s*"
_ACCEPT = re.compile(rf"(?:{_RANGE}|\s*)(?:,(?:{_RANGE}|\s*))*")
_LONE_STAR = re.compile(r"(^|,)\s*\*(?=\s*(?:[;,]|$))")
_PARAMETER = re.compile(rf"\s*;\s*(?!q\s*=){_WORD}\s*=\s*{_VALUE}")


@lru_cache(maxsize=256)
def media_type(accept: str, *extra: str) -> str:
    """Return the media type for an ``Accept`` header; JSON if the client has no preference.

    :param extra: media types that are available besides JSON, HTML and text.
    :raises BadRequest: the header is malformed.
    :raises NotAcceptable: it accepts none of the media types.
    """
    if not accept.strip():
        return JSON
    if len(accept) > 1024 or not _ACCEPT.fullmatch(accept):
        raise BadRequest("The Accept header is malformed: send media types, as in RFC 9110.")
    # Parameters do not matter here: "application/json; charset=utf-8" is JSON.
    plain = _LONE_STAR.sub(r"\1*/*", _PARAMETER.sub("", accept))
    available = [JSON, HTML, TEXT, *extra]
    best = parse_accept_header(plain, MIMEAccept).best_match(available)
    if best is None:
        raise NotAcceptable(
            f"The Accept header allows none of {', '.join(available)}: send one of these."
        )
    return best


def wants_page(accept: str) -> bool:
    """Return whether an error is sent as a page. Never raises."""
    try:
        return media_type(accept) == HTML
    except HTTPException:
        return False
