"""OpenAPI 3.1 document of the HTTP API, built from the constants and patterns of the code.

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
    IDEMPOTENCY_KEY,
    IF_ABSENT,
    IF_NONE_MATCH,
    NAME_IN_PATH,
    SCHEMAS,
    SECURITY,
    URL_SAFE_NAME_IN_PATH,
    object_schema,
    ref,
    schema,
)
from .operations import (
    TEXT_CONTENT,
    json_content,
    operation,
    picture_responses,
    problem_responses,
    read_responses,
    response,
    value_content,
)

blueprint = Blueprint("openapi", __name__)

_DESCRIPTION = f"""\
A visit counter. Every response says whether the visit was counted: it was, it was not, or the
outcome is unknown.

`Accept` selects `{JSON}` (the default), `{TEXT}` or `{HTML}`; the value of a counter is also
available as `{SVG}`. Errors are `{PROBLEM}` (RFC 9457), or pages for browsers. An unknown path is a
404, and an unsupported method a 405 with `Allow`. HEAD works wherever GET does, and never counts.

The production server itself answers requests that are malformed, incomplete, too large or too late,
also with problems (400, 408, 413, 414, 417, 431, 501, 503, 505), and closes their connection. None
of them has counted. They are not listed with the operations.
"""


def document(root: str = "/") -> dict[str, Any]:
    """Return the document. It does not depend on settings.

    :param root: the root path of the service.
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
                "post": _hit("hit", URL_SAFE_NAME_IN_PATH, AMOUNT, statuses=[404])
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
    """Return the document."""
    return Response(_as_text(request.script_root or "/"), mimetype=JSON)


@lru_cache(maxsize=8)
def _as_text(root: str) -> str:
    return json.dumps(document(root)) + "\n"


def _hit(operation_id: str, *parameters: Any, statuses: list[int] | None = None) -> dict[str, Any]:
    counted = "Counted; or not counted because this was not a visit: `reason` says why."
    spooled = (
        "Spooled to disk, because the store did not accept the hit. It is counted once when the "
        "store is back. Only with COUNTER_ON_OUTAGE=spool."
    )
    text = {TEXT: {"schema": {"const": f"{Outcome.SPOOLED}\n"}}}
    return operation(
        operation_id,
        "Count, and return the new value",
        *parameters,
        IDEMPOTENCY_KEY,
        responses={
            "200": response(counted, value_content("Hit"), "Vary", "Idempotent-Replayed"),
            "202": response(spooled, {**json_content("Spooled"), **text, HTML: {}}, "Vary"),
        }
        | problem_responses(400, 406, 409, 411, 413, 422, 429, 500, 503, *(statuses or [])),
    )


def _status(description: str, document: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {JSON: {"schema": document}}}


_WELCOME = operation(
    "welcome",
    "The welcome page, even while the store cannot be reached",
    responses={"200": response("The page.", {HTML: {}})} | problem_responses(400, 413),
)
# A response to HEAD has no body, and so no content.
_PEEK = operation(
    "peek",
    "Return only the headers, and do not count",
    responses={
        status: {"description": described["description"], "headers": described["headers"]}
        for status, described in {
            "200": response("The value.", {}, "Vary"),
            **problem_responses(400, 406, 413, 500, 503),
        }.items()
    },
)
_LIST = operation(
    "list",
    "List counters with their values, page by page, or those named in the query",
    {
        "name": "name",
        "in": "query",
        "description": "A counter to read; may be repeated, but not combined with after and limit.",
        "schema": {"type": "array", "items": ref("schemas", "Name"), "maxItems": MAX_PAGE_SIZE},
    },
    {
        "name": "after",
        "in": "query",
        "description": "List the counters after this name.",
        "schema": {"type": "string"},
    },
    {
        "name": "limit",
        "in": "query",
        "description": "Maximum counters on a page.",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": PAGE_SIZE},
    },
    IF_NONE_MATCH,
    responses=read_responses("The counters, by name.", json_content("Counters"), 414),
)
_READ_RESPONSES = read_responses("The value.", value_content("Counter"), 404, 406, vary=True)
_BADGE = picture_responses("The value.")["200"]
_READ_RESPONSES["200"] |= {
    "headers": _READ_RESPONSES["200"]["headers"] | _BADGE["headers"],
    "content": _READ_RESPONSES["200"]["content"] | _BADGE["content"],
}
_READ = operation(
    "read",
    "Return a counter's value without counting",
    NAME_IN_PATH,
    IF_NONE_MATCH,
    responses=_READ_RESPONSES,
)
_READ_JSON = operation(
    "readAsJson",
    "The same as JSON; Accept is ignored",
    NAME_IN_PATH,
    IF_NONE_MATCH,
    responses=read_responses("The value.", json_content("Counter"), 404, vary=True),
)
_READ_TEXT = operation(
    "readAsText",
    "The same as text; Accept is ignored",
    NAME_IN_PATH,
    IF_NONE_MATCH,
    responses=read_responses("The value.", TEXT_CONTENT, 404, vary=True),
)
_SERIES = operation(
    "series",
    "Return a counter's hits by day or by hour",
    NAME_IN_PATH,
    BY,
    DAYS,
    IF_NONE_MATCH,
    responses=read_responses("The days or hours.", json_content("Series"), 404),
)
_SET = operation(
    "set",
    "Set a counter, or create it",
    URL_SAFE_NAME_IN_PATH,
    IF_ABSENT,
    security=[{"admin": []}],
    requestBody={"required": True, "content": {JSON: schema("NewValue")}},
    responses={
        "200": response("Set.", json_content("Change")),
        "201": response("Created.", json_content("Change"), "Location"),
    }
    | problem_responses(400, 401, 403, 409, 411, 412, 413, 429, 500, 503),
)
_DELETE = operation(
    "delete",
    "Delete a counter with its days and hours",
    URL_SAFE_NAME_IN_PATH,
    security=[{"admin": []}],
    responses={"200": response("Deleted.", json_content("Deletion"))}
    | problem_responses(400, 401, 403, 404, 413, 429, 500, 503),
)
_ALIVE = operation(
    "alive",
    "Report that the process is alive; never asks the store",
    responses={"200": _status("Alive.", object_schema(status={"const": "alive"}))},
)
_READY = operation(
    "ready",
    "Report whether hits are accepted: the store is ready, or there is a spool",
    responses={
        "200": _status(
            "Hits are accepted.",
            {
                "type": "object",
                "required": ["status"],
                "properties": {
                    "status": {"enum": ["ready", "spooling"]},
                    "spooled": {
                        "type": "integer",
                        "minimum": 0,
                        "description": "Hits in the spool. Present if there is a spool.",
                    },
                    "idempotency_keys": {
                        "const": "refused",
                        "description": "Present while the store's memory is too full for new "
                        "idempotency keys. Hits without a key are counted.",
                    },
                    "journal": {
                        "type": "object",
                        "description": "Acknowledged batches that the store may still lose. "
                        "Present while there are any, and after a reconciliation: batches were "
                        "sent again after a failover or a restart of the store.",
                        "required": ["entries", "age_seconds", "reconciliations", "resent_hits"],
                        "properties": {
                            "entries": {"type": "integer", "minimum": 0},
                            "age_seconds": {"type": "number", "minimum": 0},
                            "reconciliations": {"type": "integer", "minimum": 0},
                            "resent_hits": {"type": "integer", "minimum": 0},
                        },
                    },
                },
            },
        )
    }
    | problem_responses(503),
)
_METRICS = operation(
    "metrics",
    "Return the metrics, even while the store cannot be reached",
    security=[{}, {"metrics": []}],
    responses={"200": response("The metrics.", {PLAIN: {}, OPENMETRICS: {}})}
    | problem_responses(401, 404, 429, 501),
)
_OPENAPI = operation(
    "openapi",
    "This document",
    responses={
        "200": _status(
            "An OpenAPI document.",
            object_schema(
                openapi={"const": "3.1.0"},
                info={"type": "object"},
                servers={"type": "array"},
                paths={"type": "object"},
                components={"type": "object"},
            ),
        )
    },
)
