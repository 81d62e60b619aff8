"""The service's description of what shows counters as they are now, and as they were."""

from __future__ import annotations

from typing import Any

from ..negotiation import HTML
from ..routes.live import EVENTS, MAX_NAMES
from ..routes.stats import DEFAULT_DAYS, MAX_DAYS, MIN_DAYS, PAGE_SIZE
from .components import IF_NONE_MATCH, NAME_IN_PATH, ref
from .operations import answer, operation, picture, problems, same


def _names(most: int, description: str) -> dict[str, Any]:
    names = {"type": "array", "items": ref("schemas", "Name"), "maxItems": most}
    return {"name": "name", "in": "query", "description": description, "schema": names}


def _text(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string"}}


_DAYS = {
    "name": "days",
    "in": "query",
    "description": f"How many days to go back, today included: {MIN_DAYS} to {MAX_DAYS}.",
    # A page and a picture do not fail because of their query.
    "schema": {"type": "string", "default": f"{DEFAULT_DAYS}"},
}
_STATS = operation(
    "stats",
    "The page with all counters and their days, those with the most hits first",
    _names(PAGE_SIZE, "A counter to show, any number of times; the other parameters do not hold."),
    _text("q", "Show the counters that have this in their names, in any case."),
    _text("page", "Which page of the counters to show, from 1."),
    _text("after", "Show the counters by name, those that come after this one."),
    _DAYS,
    answers={"200": answer("The page.", {HTML: {}})} | problems(400, 413, 503),
)
_CHART = operation(
    "chart",
    "Draw a counter's days",
    NAME_IN_PATH,
    _DAYS,
    IF_NONE_MATCH,
    answers=picture("The chart.") | {"304": same()},
)
_LIVE = operation(
    "live",
    "Send counters' values as they rise, as server-sent events",
    _names(MAX_NAMES, "A counter to hear of, any number of times; the service's own by default."),
    answers={
        "200": answer(
            "Events without an end. Each has a document with name and value: where the counter "
            "stands at first, and then the newest of its values, some four times a second.",
            {EVENTS: {}},
        )
    }
    | problems(400, 404, 413, 501, 503),
)

PATHS = {
    "/stats": {"get": _STATS},
    "/stats/{name}.svg": {"get": _CHART},
    "/live": {"get": _LIVE},
}
