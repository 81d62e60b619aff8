"""The service's description for machines (OpenAPI 3.1), made of the rules that the code obeys.

Format: https://spec.openapis.org/oas/v3.1.1.html
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from flask import Blueprint, Response, request

from ...outcome import Outcome
from ..negotiation import HTML, JSON, SVG, TEXT
from ..problems import PROBLEM
from ..routes.counters import MAX_PAGE_SIZE, PAGE_SIZE
from ..routes.metrics import OPENMETRICS, PLAIN
from . import badge_paths, stats_paths
from .components import (
    AMOUNT,
    BY,
    DAYS,
    HEADERS,
    IF_ABSENT,
    IF_NONE_MATCH,
    KEY,
    NAME_IN_PATH,
    PLAIN_NAME_IN_PATH,
    SCHEMAS,
    SECURITY,
    record,
    ref,
    schema,
)
from .operations import AS_TEXT, answer, as_json, forms, operation, picture, problems, read

blueprint = Blueprint("openapi", __name__)

_DESCRIPTION = f"""\
A visit counter. Every answer is true: a visit was counted, was not counted, or, when nobody can
know, is unknown.

`Accept` chooses among `{JSON}`, the default, `{TEXT}` and `{HTML}`, and where a counter is read
`{SVG}`. Errors are `{PROBLEM}`
(RFC 9457), or pages for browsers. A path that is not listed here answers 404, and a method that a
path does not have 405 with `Allow`. HEAD works wherever GET does, and never counts.
"""


def document(root: str = "/") -> dict[str, Any]:
    """Return the description; no setting changes it.

    :param root: the path under which the service is reached.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "flask-redis-counter",
            "version": version("flask-redis-counter"),
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": root}],
        "paths": {
            "/": {"get": _WELCOME},
            "/count": {"get": _hit("count"), "post": _hit("countByPost"), "head": _PEEK},
            "/counters": {"get": _LIST},
            "/counters/{name}": {"get": _READ, "put": _SET, "delete": _DELETE},
            "/counters/{name}.json": {"get": _READ_JSON},
            "/counters/{name}.txt": {"get": _READ_TEXT},
            "/counters/{name}/hits": {
                "post": _hit("hit", PLAIN_NAME_IN_PATH, AMOUNT, statuses=[404])
            },
            "/counters/{name}/series": {"get": _SERIES},
            **badge_paths.PATHS,
            **stats_paths.PATHS,
            "/healthz": {"get": _ALIVE},
            "/readyz": {"get": _READY},
            "/metrics": {"get": _METRICS},
            "/openapi.json": {"get": _OPENAPI},
        },
        "components": {"schemas": SCHEMAS, "headers": HEADERS, "securitySchemes": SECURITY},
    }


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """Answer the description."""
    return Response(_as_text(request.script_root or "/"), mimetype=JSON)


@lru_cache(maxsize=8)
def _as_text(root: str) -> str:
    return json.dumps(document(root)) + "\n"


def _hit(identity: str, *parameters: Any, statuses: list[int] | None = None) -> dict[str, Any]:
    counted = "Counted; or not, where this was no visit, and `reason` says why."
    spooled = (
        "Written to disk, because the store did not take it. It counts once when the store is "
        "back. Only where the service is set up to do so."
    )
    text = {TEXT: {"schema": {"const": f"{Outcome.SPOOLED}\n"}}}
    return operation(
        identity,
        "Count, and answer the new value",
        *parameters,
        KEY,
        answers={
            "200": answer(counted, forms("Hit"), "Vary", "Idempotent-Replayed"),
            "202": answer(spooled, {**as_json("Spooled"), **text, HTML: {}}, "Vary"),
        }
        | problems(400, 406, 409, 411, 413, 422, 429, 500, 503, *(statuses or [])),
    )


def _status(description: str, document: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {JSON: {"schema": document}}}


_WELCOME = operation(
    "welcome",
    "The welcome page, also while the store is away",
    answers={"200": answer("The page.", {HTML: {}})} | problems(400, 413),
)
# What HEAD answers has no body to describe.
_PEEK = operation(
    "peek",
    "Answer the value without a body, and do not count",
    answers={
        status: {"description": described["description"], "headers": described["headers"]}
        for status, described in {
            "200": answer("The value.", {}, "Vary"),
            **problems(400, 406, 413, 500, 503),
        }.items()
    },
)
_LIST = operation(
    "list",
    "List the counters and their values, a page at a time, or those that are asked for",
    {
        "name": "name",
        "in": "query",
        "description": "A counter to read, any number of times; without after and limit.",
        "schema": {"type": "array", "items": ref("schemas", "Name"), "maxItems": MAX_PAGE_SIZE},
    },
    {
        "name": "after",
        "in": "query",
        "description": "List what comes after this name.",
        "schema": {"type": "string"},
    },
    {
        "name": "limit",
        "in": "query",
        "description": "How many counters a page has.",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": PAGE_SIZE},
    },
    IF_NONE_MATCH,
    answers=read("The counters, by name.", as_json("Counters")),
)
_READ_ANSWERS = read("The value.", forms("Counter"), 404, 406, vary=True)
_BADGE = picture("The value.")["200"]
_READ_ANSWERS["200"] |= {
    "headers": _READ_ANSWERS["200"]["headers"] | _BADGE["headers"],
    "content": _READ_ANSWERS["200"]["content"] | _BADGE["content"],
}
_READ = operation(
    "read",
    "Answer a counter's value, and do not count",
    NAME_IN_PATH,
    IF_NONE_MATCH,
    answers=_READ_ANSWERS,
)
_READ_JSON = operation(
    "readAsJson",
    "The same as JSON, whatever Accept says",
    NAME_IN_PATH,
    IF_NONE_MATCH,
    answers=read("The value.", as_json("Counter"), 404, vary=True),
)
_READ_TEXT = operation(
    "readAsText",
    "The same as text, whatever Accept says",
    NAME_IN_PATH,
    IF_NONE_MATCH,
    answers=read("The value.", AS_TEXT, 404, vary=True),
)
_SERIES = operation(
    "series",
    "Answer the hits of a counter's last days, or of their hours",
    NAME_IN_PATH,
    BY,
    DAYS,
    IF_NONE_MATCH,
    answers=read("The days, or the hours.", as_json("Series"), 404),
)
_SET = operation(
    "set",
    "Set a counter, which is made where there is none",
    PLAIN_NAME_IN_PATH,
    IF_ABSENT,
    security=[{"admin": []}],
    requestBody={"required": True, "content": {JSON: schema("NewValue")}},
    answers={
        "200": answer("Set.", as_json("Change")),
        "201": answer("Made.", as_json("Change"), "Location"),
    }
    | problems(400, 401, 403, 409, 411, 412, 413, 429, 500, 503),
)
_DELETE = operation(
    "delete",
    "Delete a counter with its days and hours",
    PLAIN_NAME_IN_PATH,
    security=[{"admin": []}],
    answers={"200": answer("Deleted.", as_json("Deletion"))}
    | problems(400, 401, 403, 404, 413, 429, 500, 503),
)
_ALIVE = operation(
    "alive",
    "Whether the process is alive; never asks the store",
    answers={"200": _status("It is.", record(status={"const": "alive"}))},
)
_READY = operation(
    "ready",
    "Whether hits are taken: the store answers, or there is a spool",
    answers={
        "200": _status(
            "They are.",
            {
                "type": "object",
                "required": ["status"],
                "properties": {
                    "status": {"enum": ["ready", "spooling"]},
                    "spooled": {
                        "type": "integer",
                        "minimum": 0,
                        "description": "How many hits wait in the spool, where there is one.",
                    },
                    "idempotency_keys": {
                        "const": "refused",
                        "description": "Present while the store's memory is too full for new "
                        "idempotency keys. Hits without one count.",
                    },
                },
            },
        )
    }
    | problems(503),
)
_METRICS = operation(
    "metrics",
    "Answer the numbers for a monitor, also while the store is away",
    security=[{}, {"metrics": []}],
    answers={"200": answer("The metrics.", {PLAIN: {}, OPENMETRICS: {}})}
    | problems(401, 404, 429, 501),
)
_OPENAPI = operation(
    "openapi",
    "This description",
    answers={
        "200": _status(
            "An OpenAPI document.",
            record(
                openapi={"const": "3.1.0"},
                info={"type": "object"},
                servers={"type": "array"},
                paths={"type": "object"},
                components={"type": "object"},
            ),
        )
    },
)
