"""OpenAPI paths of statistics, charts and live events."""

from __future__ import annotations

from typing import Any

from ..negotiation import HTML
from ..routes.live import EVENTS, MAX_NAMES
from ..routes.stats import DEFAULT_DAYS, MAX_DAYS, MIN_DAYS, PAGE_SIZE
from .components import IF_NONE_MATCH, NAME_IN_PATH, ref
from .operations import not_modified, operation, picture_responses, problem_responses, response


def _names(max_items: int, description: str) -> dict[str, Any]:
    names = {"type": "array", "items": ref("schemas", "Name"), "maxItems": max_items}
    return {"name": "name", "in": "query", "description": description, "schema": names}


def _text(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string"}}


_DAYS = {
    "name": "days",
    "in": "query",
    "description": f"Number of days, today included: {MIN_DAYS} to {MAX_DAYS}.",
    # A page and a picture do not fail because of their query.
    "schema": {"type": "string", "default": f"{DEFAULT_DAYS}"},
}
_STATS = operation(
    "stats",
    "The statistics page: all counters with their days, by value in descending order",
    _names(PAGE_SIZE, "A counter to show; may be repeated. q, page and after are then ignored."),
    _text("q", "Show the counters whose names contain this text, ignoring case."),
    _text("page", "Number of the page, from 1."),
    _text("after", "Order by name, and show the counters after this name."),
    _DAYS,
    responses={"200": response("The page.", {HTML: {}})} | problem_responses(400, 413, 503),
)
_CHART = operation(
    "chart",
    "Draw a chart of a counter's days",
    NAME_IN_PATH,
    _DAYS,
    IF_NONE_MATCH,
    responses=picture_responses("The chart.") | {"304": not_modified()},
)
_LIVE = operation(
    "live",
    "Stream the values of counters as server-sent events",
    _names(MAX_NAMES, "A counter to follow; may be repeated. Default: the service's own."),
    responses={
        "200": response(
            "An endless stream. Each event is a document with name and value: first the current "
            "value, then the newest one after each change, up to four times a second.",
            {EVENTS: {}},
        )
    }
    | problem_responses(400, 404, 413, 501, 503),
)

PATHS = {
    "/stats": {"get": _STATS},
    "/stats/{name}.svg": {"get": _CHART},
    "/live": {"get": _LIVE},
}
