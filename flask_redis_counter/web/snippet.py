"""The page that writes the lines which put a count on somebody's site."""

from __future__ import annotations

import re
from urllib.parse import quote, urlencode

from flask import Blueprint, Response, render_template, request, url_for
from markupsafe import Markup
from werkzeug.datastructures import MultiDict

from ..rules import PLAIN_NAME
from ..state import current_state
from .answers import hold_back
from .badge import COLORS
from .badges import LONGEST_LABEL, look_in
from .counting import only, plain, text_in

# A browser reads it with the flag v, which wants the hyphen escaped.
_NAME = PLAIN_NAME.pattern.replace("-]", r"\-]")
# What Markdown would take for markup in the words for an image.
_MARKUP = re.compile(r"([\\`*_\[\]<>&|~])")
_ESCAPED = r"\\\1"

blueprint = Blueprint("snippet", __name__)
blueprint.before_request(hold_back)


@blueprint.get("/snippet")
def snippet() -> Response:
    """Answer the form, and the lines for what was filled in."""
    only(request.args, "name", "label", "color", "format")
    # A form also sends the fields that were left empty.
    asked = MultiDict((key, text) for key, text in request.args.items(multi=True) if text.strip())
    name = plain(text_in(asked, "name", current_state().config.name))
    asked.poplist("name")
    label = look_in(asked, name).label
    query = f"?{urlencode(asked)}" if asked else ""
    page = render_template(
        "snippet.html",
        name=name,
        asked=asked,
        query=query,
        lines=lines(name, label, query),
        colors=COLORS,
        name_pattern=_NAME,
        longest_label=LONGEST_LABEL,
    )
    return Response(page, headers={"Cache-Control": "no-store"})


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
    place = Markup('<span data-count-of="{}"></span>')
    return {
        "markdown": f"![{_MARKUP.sub(_ESCAPED, words)}]({read})",
        "image": str(image.format(hit, words)),
        "script": str(loader.format(script, name)),
        "place": str(place.format(name)),
        "shields": f"https://img.shields.io/endpoint?url={quote(shields, safe='')}",
    }
