"""Route of the page that generates snippets: lines that put a count on a site."""

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

# Browsers compile a pattern attribute with the flag v, which needs an escaped hyphen.
_NAME = URL_SAFE_NAME.pattern.replace("-]", r"\-]")
# Characters that are markup in the alternative text of a Markdown image.
_MARKUP = re.compile(r"([\\`*_\[\]<>&|~])")
_ESCAPED = r"\\\1"

# Plausible counter names for which a rule of EasyPrivacy blocks /counters/NAME/hits,
# /counters/NAME.svg or /hit/NAME.svg, as of November 2026.
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
    """Return the form, and the snippets for its values."""
    # A form also sends empty fields.
    args = request.args
    name = require_url_safe_name(args.get("name", "").strip() or current_state().config.name)
    label = parse_label(args.get("label", ""))
    fields = {
        "label": label,
        "color": args["color"] if parse_color(args.get("color", "")) else "",
        "format": args["format"] if args.get("format") in get_args(NumberFormat) else "",
    }
    query = urlencode({field: text for field, text in fields.items() if text})
    query = f"?{query}" if query else ""
    page = render_template(
        "snippet.html",
        name=name,
        fields=fields,
        query=query,
        snippets=make_snippets(name, label or name, query),
        blocked=is_blocked(name),
        cors=current_state().config.cors_origins,
        colors=COLORS,
        name_pattern=_NAME,
        max_label=MAX_LABEL,
    )
    return Response(page, headers={"Cache-Control": "no-store"})


def is_blocked(name: str) -> bool:
    """Return whether a common filter list blocks requests for a counter of this name."""
    return _BLOCKED.fullmatch(name) is not None


def make_snippets(name: str, alt: str, query: str) -> dict[str, str]:
    """Return the snippets by kind.

    :param alt: alternative text of the image.
    :param query: query with the style of the badge, with its ``?``, or empty.
    """
    read = url_for("badges.read", name=name, _external=True) + query
    hit = url_for("badges.hit", name=name, _external=True) + query
    shields = url_for("badges.shields", name=name, _external=True) + query
    script = url_for("static", filename="counter.js", _external=True)
    image = Markup('<img src="{}" alt="{}" height="20">')
    loader = Markup('<script async src="{}" data-counter="{}"></script>')
    place = Markup('<p data-count-line hidden>Seen <span data-count-of="{}"></span> times.</p>')
    return {
        "markdown": f"![{_MARKUP.sub(_ESCAPED, alt)}]({read})",
        "image": str(image.format(hit, alt)),
        "script": str(loader.format(script, name)),
        "place": str(place.format(name)),
        "shields": f"https://img.shields.io/endpoint?url={quote(shields, safe='')}",
    }
