"""The service's description of what shows counters elsewhere: badges, and the lines for them."""

from __future__ import annotations

from typing import Any, get_args

from ..badge_style import MAX_LABEL
from ..badge_svg import COLORS, NumberFormat
from ..negotiation import HTML, JSON
from .components import IF_NONE_MATCH, KEY, NAME_IN_PATH, PLAIN_NAME_IN_PATH, record
from .operations import answer, operation, picture, problems, same

_COLORS = f"{', '.join(COLORS)}, or 3 or 6 hexadecimal digits"
_TEXT = {"type": "string"}


def _parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


# A picture never fails because of its query: each text is taken, and what cannot be read ignored.
_LOOK = (
    _parameter(
        "label",
        f"The text on the left, of which {MAX_LABEL} printable characters are shown; the "
        "counter's name by default.",
        _TEXT,
    ),
    _parameter("color", f"The colour behind the number: {_COLORS}.", {**_TEXT, "default": "blue"}),
    _parameter("label_color", "The colour behind the label.", {**_TEXT, "default": "grey"}),
    _parameter(
        "format",
        f"How the number is written: {', '.join(get_args(NumberFormat))}.",
        {**_TEXT, "default": "plain"},
    ),
)

_READ = operation(
    "badge",
    "Draw a counter's value, and do not count",
    NAME_IN_PATH,
    *_LOOK,
    IF_NONE_MATCH,
    answers=picture("The badge.") | {"304": same()},
)
_HIT = operation(
    "hitByBadge",
    "Count, and draw the new value; HEAD reads",
    PLAIN_NAME_IN_PATH,
    *_LOOK,
    KEY,
    answers=picture("The badge.", "Counted", "Idempotent-Replayed"),
)
_SHIELDS = operation(
    "shields",
    "Answer what shields.io makes a badge of",
    NAME_IN_PATH,
    *_LOOK,
    IF_NONE_MATCH,
    answers={
        "200": {
            "description": "The value, or in a word why there is none.",
            "content": {
                JSON: {
                    "schema": record(
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
        "304": same(),
    }
    | problems(400, 412, 413),
)
_SNIPPET = operation(
    "snippet",
    "The page that writes the lines which put a count on a site",
    _parameter("name", "The counter.", _TEXT),
    *(_parameter(name, "As for a badge, or empty.", _TEXT) for name in ("label", "color")),
    _parameter("format", "As for a badge, or empty.", _TEXT),
    answers={"200": answer("The page.", {HTML: {}})} | problems(400, 413),
)

PATHS = {
    "/counters/{name}.svg": {"get": _READ},
    "/hit/{name}.svg": {"get": _HIT},
    "/counters/{name}/shields.json": {"get": _SHIELDS},
    "/snippet": {"get": _SNIPPET},
}
