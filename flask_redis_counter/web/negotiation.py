"""Which of the forms that we have a client wants (RFC 9110, section 12)."""

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
# A lone "*" is what Java's HttpURLConnection sends.
_RANGE = rf"\s*(?:{_WORD}/{_WORD}|\*)(?:\s*;\s*{_WORD}\s*=\s*{_VALUE})*\s*"
_ACCEPT = re.compile(rf"(?:{_RANGE}|\s*)(?:,(?:{_RANGE}|\s*))*")
_LONE_STAR = re.compile(r"(^|,)\s*\*(?=\s*(?:[;,]|$))")
_PARAMETER = re.compile(rf"\s*;\s*(?!q\s*=){_WORD}\s*=\s*{_VALUE}")


@lru_cache(maxsize=256)
def media_type(accept: str, *further: str) -> str:
    """Return the form for an ``Accept`` header; JSON where the client has no preference.

    :param further: forms that there are besides JSON, HTML and text.

    :raises BadRequest: the header is malformed.
    :raises NotAcceptable: it rules out every form.
    """
    if not accept.strip():
        return JSON
    if len(accept) > 1024 or not _ACCEPT.fullmatch(accept):
        raise BadRequest("The Accept header is malformed.")
    # Our forms have no variants: "application/json; charset=utf-8" is JSON.
    plain = _LONE_STAR.sub(r"\1*/*", _PARAMETER.sub("", accept))
    forms = [JSON, HTML, TEXT, *further]
    best = parse_accept_header(plain, MIMEAccept).best_match(forms)
    if best is None:
        raise NotAcceptable(f"The Accept header allows none of {', '.join(forms)}.")
    return best


def wants_page(accept: str) -> bool:
    """Whether an error goes out as a page; never raises."""
    try:
        return media_type(accept) == HTML
    except HTTPException:
        return False
