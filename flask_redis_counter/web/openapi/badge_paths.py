"""OpenAPI paths of badges and snippets."""

from __future__ import annotations

from typing import Any, get_args

from ..badge_style import MAX_LABEL
from ..badge_svg import COLORS, NumberFormat
from ..negotiation import HTML, JSON
from .components import (
    IDEMPOTENCY_KEY,
    IF_NONE_MATCH,
    NAME_IN_PATH,
    URL_SAFE_NAME_IN_PATH,
    object_schema,
)
from .operations import not_modified, operation, picture_responses, problem_responses, response

_COLORS = f"{', '.join(COLORS)}, or 3 or 6 hexadecimal digits"
_TEXT = {"type": "string"}


def _parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


# A picture never fails because of its query: it accepts any text, and ignores invalid values.
_STYLE = (
    _parameter(
        "label",
        f"Text on the left, cut to {MAX_LABEL} printable characters. Default: the counter's name.",
        _TEXT,
    ),
    _parameter(
        "color", f"Background colour of the number: {_COLORS}.", {**_TEXT, "default": "blue"}
    ),
    _parameter("label_color", "Background colour of the label.", {**_TEXT, "default": "grey"}),
    _parameter(
        "format",
        f"Number format: {', '.join(get_args(NumberFormat))}.",
        {**_TEXT, "default": "plain"},
    ),
)

_READ = operation(
    "badge",
    "Draw a counter's value without counting",
    NAME_IN_PATH,
    *_STYLE,
    IF_NONE_MATCH,
    responses=picture_responses("The badge.") | {"304": not_modified()},
)
_HIT = operation(
    "hitByBadge",
    "Count, and draw the new value; HEAD only reads",
    URL_SAFE_NAME_IN_PATH,
    *_STYLE,
    IDEMPOTENCY_KEY,
    responses=picture_responses("The badge.", "Counted", "Idempotent-Replayed"),
)
_SHIELDS = operation(
    "shields",
    "Return the JSON of an endpoint badge for shields.io",
    NAME_IN_PATH,
    *_STYLE,
    IF_NONE_MATCH,
    responses={
        "200": {
            "description": "The value, or a word that says why there is none.",
            "content": {
                JSON: {
                    "schema": object_schema(
                        schemaVersion={"const": 1},
                        label=_TEXT,
                        message=_TEXT,
                        color=_TEXT,
                        labelColor=_TEXT,
                        isError={"type": "boolean"},
                        cacheSeconds={"type": "integer", "minimum": 0},
                    )
                }
            },
        },
        "304": not_modified(),
    }
    | problem_responses(400, 412, 413),
)
_SNIPPET = operation(
    "snippet",
    "The page that generates snippets which put a count on a site",
    _parameter("name", "The counter.", _TEXT),
    *(_parameter(name, "As for a badge, or empty.", _TEXT) for name in ("label", "color")),
    _parameter("format", "As for a badge, or empty.", _TEXT),
    responses={"200": response("The page.", {HTML: {}})} | problem_responses(400, 413),
)

PATHS = {
    "/counters/{name}.svg": {"get": _READ},
    "/hit/{name}.svg": {"get": _HIT},
    "/counters/{name}/shields.json": {"get": _SHIELDS},
    "/snippet": {"get": _SNIPPET},
}
