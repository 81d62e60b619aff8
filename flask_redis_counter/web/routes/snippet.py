"""The page that writes the lines which put a count on somebody's site."""

from __future__ import annotations

import re
from typing import get_args
from urllib.parse import quote, urlencode

from flask import Blueprint, Response, render_template, request, url_for
from markupsafe import Markup

from ...extension.state import current_state
from ...validation import URL_SAFE_NAME
from ..badge_style import MAX_LABEL, parse_label
from ..badge_svg import COLORS, NumberFormat, parse_color
from ..params import require_url_safe_name
from ..request_checks import reject_invalid_request

# A browser reads it with the flag v, which wants the hyphen escaped.
_NAME = URL_SAFE_NAME.pattern.replace("-]", r"\-]")
# What Markdown would take for markup in the words for an image.
_MARKUP = re.compile(r"([\\`*_\[\]<>&|~])")
_ESCAPED = r"\\\1"

# Names for which a rule of EasyPrivacy blocks /counters/NAME/hits, /counters/NAME.svg or
# /hit/NAME.svg, as of November 2026; of all those the ones that somebody may well give a counter.
# https://github.com/easylist/easylist/blob/master/easyprivacy/easyprivacy_general.txt
_BLOCKED = re.compile(
    r"""
    accesscounter|acecounter|adcount|addpageview|analytics|clickcount|clicklog|counthits|
    event-log|event-tracking|eventtracking|fastcounter|geocounter|google-analytics|
    googleanalytics|hit-counter|hit_counter|hitcount|hitcounter|hittracker|hittracking|
    homecounter|loadcounter|logcounter|matomo|mcounter|megacounter|neocounter|newscount|newsstat|
    page_counter|pagehits|pagestat|pagestatistics|pagestats|pagetracker|pageviews|piwik|
    powercount|pvcount|pvcounter|site_counter|site_statistics|site_stats|sitestat|sitetracker|
    statcount|statscounter|tracker|trackpageview|trackviews|trackvisit|trackvisitors|updatestats|
    viewcounter|visitcounter|web-analytics|webanalytics|webcounter|webtracker
    """,
    re.IGNORECASE | re.VERBOSE,
)

blueprint = Blueprint("snippet", __name__)
blueprint.before_request(reject_invalid_request)


@blueprint.get("/snippet")
def snippet() -> Response:
    """Answer the form, and the lines for what was filled in."""
    # A form also sends the fields that were left empty.
    sent = request.args
    name = require_url_safe_name(sent.get("name", "").strip() or current_state().config.name)
    label = parse_label(sent.get("label", ""))
    asked = {
        "label": label,
        "color": sent["color"] if parse_color(sent.get("color", "")) else "",
        "format": sent["format"] if sent.get("format") in get_args(NumberFormat) else "",
    }
    query = urlencode({field: text for field, text in asked.items() if text})
    query = f"?{query}" if query else ""
    page = render_template(
        "snippet.html",
        name=name,
        asked=asked,
        query=query,
        lines=lines(name, label or name, query),
        blocked=is_blocked(name),
        cors=current_state().config.cors_origins,
        colors=COLORS,
        name_pattern=_NAME,
        longest_label=MAX_LABEL,
    )
    return Response(page, headers={"Cache-Control": "no-store"})


def is_blocked(name: str) -> bool:
    """Whether a common filter list blocks the requests of a counter of this name."""
    return _BLOCKED.fullmatch(name) is not None


def lines(name: str, words: str, query: str) -> dict[str, str]:
    """Return what to copy, by what it is.

    :param words: what stands for the image where it cannot be seen.
    :param query: how the badge is to look.
    """
    read = url_for("badges.read", name=name, _external=True) + query
    hit = url_for("badges.hit", name=name, _external=True) + query
    shields = url_for("badges.shields", name=name, _external=True) + query
    script = url_for("static", filename="counter.js", _external=True)
    image = Markup('<img src="{}" alt="{}" height="20">')
    loader = Markup('<script async src="{}" data-counter="{}"></script>')
    place = Markup('<p data-count-line hidden>Seen <span data-count-of="{}"></span> times.</p>')
    return {
        "markdown": f"![{_MARKUP.sub(_ESCAPED, words)}]({read})",
        "image": str(image.format(hit, words)),
        "script": str(loader.format(script, name)),
        "place": str(place.format(name)),
        "shields": f"https://img.shields.io/endpoint?url={quote(shields, safe='')}",
    }
