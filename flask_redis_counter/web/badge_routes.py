"""The service's description of what shows counters elsewhere: badges, and the lines for them."""

from __future__ import annotations

from typing import Any, get_args

from .badge import COLORS, Format
from .badges import LONGEST_LABEL, WORDS
from .negotiation import HTML, JSON, SVG
from .responses import answer, operation, problems, read
from .schemas import KEY, KNOWN, NAME_IN_PATH, PLAIN_NAME_IN_PATH, record

_COLOR = {
    "type": "string",
    "pattern": f"^({'|'.join(COLORS)}|#?[0-9A-Fa-f]{{6}}|#?[0-9A-Fa-f]{{3}})$",
}
_TEXT = {"type": "string"}


def _parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_LOOK = (
    _parameter(
        "label",
        "What stands on the left; the name where it is not said. Printable characters.",
        {"type": "string", "maxLength": LONGEST_LABEL},
    ),
    _parameter("color", "The colour behind the number.", {**_COLOR, "default": "blue"}),
    _parameter("label_color", "The colour behind the label.", {**_COLOR, "default": "grey"}),
    _parameter(
        "format",
        "How the number is written.",
        {"enum": list(get_args(Format)), "default": "plain"},
    ),
)


def _drawn(*statuses: int) -> dict[str, Any]:
    """Describe problems, which a badge says in a word where it can."""
    described = problems(*statuses)
    for status, word in WORDS.items():
        if str(status.value) in described:
            picture = {SVG: {"schema": {"type": "string"}, "example": f"<svg …>{word}</svg>"}}
            described[str(status.value)]["content"] |= picture
    return described


_READ = operation(
    "badge",
    "Draw a counter's value, and do not count",
    NAME_IN_PATH,
    *_LOOK,
    KNOWN,
    answers=read("The badge.", {SVG: {}}) | _drawn(404, 500, 503),
)
_HIT = operation(
    "hitByBadge",
    "Count, and draw the new value; HEAD reads",
    PLAIN_NAME_IN_PATH,
    *_LOOK,
    KEY,
    answers={
        "200": answer("The badge.", {SVG: {}}, "Vary", "Idempotent-Replayed"),
        "202": answer("Written to disk, and counted later.", {SVG: {}}, "Vary"),
    }
    | _drawn(400, 404, 409, 411, 413, 422, 429, 500, 503),
)
_SHIELDS = operation(
    "shields",
    "Answer what shields.io makes a badge of",
    NAME_IN_PATH,
    *_LOOK,
    KNOWN,
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
        "304": {"description": "What the client has still holds."},
    }
    | problems(400, 404, 411, 412, 413),
)
_SNIPPET = operation(
    "snippet",
    "The page that writes the lines which put a count on a site",
    _parameter("name", "The counter.", _TEXT),
    *(_parameter(name, "As for a badge, or empty.", _TEXT) for name in ("label", "color")),
    _parameter("format", "As for a badge, or empty.", _TEXT),
    answers={"200": answer("The page.", {HTML: {}})} | problems(400, 411, 413),
)

PATHS = {
    "/counters/{name}.svg": {"get": _READ},
    "/hit/{name}.svg": {"get": _HIT},
    "/counters/{name}/shields.json": {"get": _SHIELDS},
    "/snippet": {"get": _SNIPPET},
}
