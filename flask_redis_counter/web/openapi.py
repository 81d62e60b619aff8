"""The service's description for machines (OpenAPI 3.1), made of the rules that the code obeys.

Format: https://spec.openapis.org/oas/v3.1.1.html
"""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import version
from typing import Any

from flask import Blueprint, Response

from ..rules import MAX_VALUE, MIN_VALUE, NAME
from .counting import BARE, QUOTED
from .errors import PROBLEM, RETRY_AFTER
from .negotiation import HTML, JSON, TEXT

blueprint = Blueprint("openapi", __name__)

_DESCRIPTION = f"""\
A visit counter. Every answer is true: a visit was counted, was not counted, or, when nobody can
know, is unknown.

`Accept` chooses among `{JSON}`, the default, `{TEXT}` and `{HTML}`. Errors are `{PROBLEM}`
(RFC 9457), or pages for browsers. A path that is not listed here answers 404, and a method that a
path does not have 405 with `Allow`. HEAD works wherever GET does, and never counts.
"""


def document() -> dict[str, Any]:
    """Return the description; no setting changes it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "flask-redis-counter",
            "version": version("flask-redis-counter"),
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": {
            "/": {"get": _WELCOME},
            "/count": {"get": _hit("count"), "post": _hit("countByPost"), "head": _PEEK},
            "/counters/{name}": {"get": _READ},
            "/counters/{name}/hits": {"post": _hit("hit", _NAME, _AMOUNT, statuses=[404])},
            "/healthz": {"get": _ALIVE},
            "/readyz": {"get": _READY},
            "/openapi.json": {"get": _OPENAPI},
        },
        "components": {"schemas": _SCHEMAS, "headers": _HEADERS},
    }


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """Answer the description."""
    return Response(_as_text(), mimetype=JSON)


@cache
def _as_text() -> str:
    return json.dumps(document(), indent=1) + "\n"


def _operation(
    operation: str, summary: str, *parameters: dict[str, Any], answers: dict[str, Any]
) -> dict[str, Any]:
    described: dict[str, Any] = {"operationId": operation, "summary": summary}
    if parameters:
        described["parameters"] = list(parameters)
    return described | {"responses": dict(sorted(answers.items()))}


def _hit(operation: str, *parameters: Any, statuses: list[int] | None = None) -> dict[str, Any]:
    refusals = [400, 406, 409, 411, 413, 422, 500, 503, *(statuses or [])]
    return _operation(
        operation,
        "Count, and answer the new value",
        *parameters,
        _KEY,
        answers={
            "200": _counter("Counted.", counted=True),
            "202": {
                "description": "Written to disk, because the store did not take it. It counts once "
                "when the store is back. Only where the service is set up to do so.",
                "headers": _refer("headers", "Cache-Control", "Vary"),
                "content": {
                    JSON: _schema("Spooled"),
                    TEXT: {"schema": {"const": "spooled\n"}},
                    HTML: {},
                },
            },
        }
        | _problems(*refusals),
    )


def _counter(description: str, *, counted: bool) -> dict[str, Any]:
    headers = ["Cache-Control", "Vary", *(["Idempotent-Replayed"] if counted else [])]
    return {
        "description": description,
        "headers": _refer("headers", *headers),
        "content": {
            JSON: {
                "schema": {
                    "$ref": "#/components/schemas/Counter",
                    "properties": {"counted": {"const": counted}},
                }
            },
            TEXT: {"schema": {"type": "string", "pattern": r"^(0|-?[1-9][0-9]{0,18})\n$"}},
            HTML: {},
        },
    }


def _problems(*statuses: int) -> dict[str, Any]:
    return {str(status): _problem(status) for status in statuses}


def _problem(status: int) -> dict[str, Any]:
    headers = ["Cache-Control", "Vary", *(["Retry-After"] if status == 503 else [])]
    return {
        "description": _REFUSALS[status],
        "headers": _refer("headers", *headers),
        "content": {
            PROBLEM: {
                "schema": {
                    "$ref": "#/components/schemas/Problem",
                    "properties": {"status": {"const": status}},
                }
            },
            HTML: {},
        },
    }


def _status(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {JSON: {"schema": schema}}}


def _refer(kind: str, *names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/{kind}/{name}"} for name in names}


def _schema(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


_REFUSALS = {
    400: "A name, an amount, or the header Accept, Host or Idempotency-Key is malformed; or there "
    "is an amount where none is read: in other words, in a body, or of /count.",
    404: "There is no such counter, or what should be its name has a slash in it.",
    406: f"Accept allows none of {JSON}, {TEXT} and {HTML}.",
    409: "The counter would go beyond its largest value. Nothing was counted.",
    411: "A body of unknown length. Nothing here needs one.",
    413: "A body of more than 64 KiB. Nothing here needs one.",
    422: "The Idempotency-Key stands for a hit of another amount. Nothing was counted.",
    500: "The store holds something that is no integer where the counter should be. It is left "
    "untouched.",
    503: "The store cannot be reached, does not answer in time, or refuses. Of a hit, `counted` "
    "says what became of it: false, or unknown.",
}

_SCHEMAS = {
    "Name": {"type": "string", "pattern": f"^{NAME.pattern}$"},
    "Counter": {
        "type": "object",
        "required": ["name", "value", "counted"],
        "properties": {
            "name": {"$ref": "#/components/schemas/Name"},
            "value": {
                "type": "integer",
                "format": "int64",
                "minimum": MIN_VALUE,
                "maximum": MAX_VALUE,
            },
            "counted": {"type": "boolean", "description": "Whether this request counted."},
        },
    },
    "Spooled": {
        "type": "object",
        "required": ["counted"],
        "properties": {"counted": {"const": "spooled"}},
    },
    "Problem": {
        "type": "object",
        "description": "A problem document (RFC 9457).",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"const": "about:blank"},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string"},
            "counted": {
                "enum": [False, "unknown"],
                "description": "What became of the hit. Where it is unknown, the same can be sent "
                "again without counting twice, if it had an Idempotency-Key.",
            },
        },
    },
}

_HEADERS = {
    "Cache-Control": {"required": True, "schema": {"const": "no-store"}},
    "Vary": {"required": True, "schema": {"const": "Accept"}},
    "Retry-After": {
        "description": "Seconds after which to try again. Absent where that might count twice: the "
        "outcome is unknown, and the request had no Idempotency-Key.",
        "schema": {"type": "integer", "const": RETRY_AFTER},
    },
    "Idempotent-Replayed": {
        "description": "Present where this key had counted before; the answer is that one's.",
        "schema": {"const": "true"},
    },
}

_NAME = {"name": "name", "in": "path", "required": True, **_schema("Name")}
_AMOUNT = {
    "name": "amount",
    "in": "query",
    "description": "How much to count at once.",
    "schema": {
        "type": "integer",
        "format": "int64",
        "minimum": 1,
        "maximum": MAX_VALUE,
        "default": 1,
    },
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Hits on one counter with the same key count once, for a day, whichever replica "
    "they reach. The quotes may be left out around what has no spaces, quotes, commas or "
    "semicolons (draft-ietf-httpapi-idempotency-key-header).",
    "schema": {"type": "string", "pattern": f"^(?:{QUOTED.pattern}|{BARE.pattern})$"},
    "example": '"8e03978e-40d5"',
}

_WELCOME = _operation(
    "welcome",
    "The welcome page, also while the store is away",
    answers={
        "200": {
            "description": "The page.",
            "headers": _refer("headers", "Cache-Control"),
            "content": {HTML: {}},
        }
    }
    | _problems(400, 411, 413),
)
_READ = _operation(
    "read",
    "Answer a counter's value, and do not count",
    _NAME,
    answers={"200": _counter("The value.", counted=False)}
    | _problems(400, 404, 406, 411, 413, 500, 503),
)
# What HEAD answers has no body to describe.
_PEEK = _operation(
    "peek",
    "Answer what GET would, without a body, and do not count",
    answers={
        status: {"description": answer["description"], "headers": answer["headers"]}
        for status, answer in _READ["responses"].items()
        if status != "404"
    },
)
_ALIVE = _operation(
    "alive",
    "Whether the process is alive; never asks the store",
    answers={
        "200": _status(
            "It is.",
            {
                "type": "object",
                "required": ["status"],
                "properties": {"status": {"const": "alive"}},
            },
        )
    },
)
_READY = _operation(
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
                },
            },
        )
    }
    | _problems(503),
)
_OPENAPI = _operation(
    "openapi",
    "This description",
    answers={
        "200": _status(
            "An OpenAPI document.",
            {
                "type": "object",
                "required": ["openapi", "info", "paths"],
                "properties": {"openapi": {"const": "3.1.0"}},
            },
        )
    },
)
