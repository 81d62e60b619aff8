"""OpenAPI components: schemas, headers, parameters and security schemes."""

from __future__ import annotations

from typing import Any

from ...outcome import Outcome
from ...series import MAX_DAYS
from ...validation import MAX_VALUE, MIN_VALUE, NAME, URL_SAFE_NAME
from ..params import BARE, QUOTED
from ..representations import COUNTED_MEMBER, IDEMPOTENCY_MEMORY


def ref(kind: str, name: str) -> dict[str, str]:
    """Return a reference to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def schema(name: str) -> dict[str, Any]:
    """Return the member ``schema`` with a reference to a schema of the components."""
    return {"schema": ref("schemas", name)}


def object_schema(**members: Any) -> dict[str, Any]:
    """Return the schema of an object in which all members are required."""
    return {"type": "object", "required": list(members), "properties": members}


_NAME = ref("schemas", "Name")
_VALUE = ref("schemas", "Value")
_AMOUNT = {"type": "integer", "format": "int64", "minimum": 0, "maximum": MAX_VALUE}
_COUNTED = {"type": "boolean", "description": "Whether this request counted."}
_REASON = {
    "enum": ["prefetch", "bot", "reload"],
    "description": "Why the request did not count. prefetch: a browser prefetched the page; bot: a "
    "known crawler (COUNTER_IGNORE_BOTS); reload: the same visitor was counted a moment ago "
    "(COUNTER_VISITOR_WINDOW).",
}

SCHEMAS = {
    "Name": {"type": "string", "pattern": f"^{NAME.pattern}$"},
    "PlainName": {
        "type": "string",
        "pattern": f"^{URL_SAFE_NAME.pattern}$",
        "description": "A name that does not end in .json, .txt or .svg, which select a media "
        "type, and is not . or .., which are folders.",
    },
    "Value": {"type": "integer", "format": "int64", "minimum": MIN_VALUE, "maximum": MAX_VALUE},
    "Counter": object_schema(name=_NAME, value=_VALUE, counted={"const": False}),
    "Hit": {
        **object_schema(name=_NAME, value=_VALUE, counted=_COUNTED),
        "oneOf": [
            {"properties": {"counted": {"const": True}, "reason": False}},
            {
                "properties": {"counted": {"const": False}, "reason": _REASON},
                "required": ["reason"],
            },
        ],
    },
    "Counters": {
        "type": "object",
        "required": ["counters"],
        "properties": {
            "counters": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "value"],
                    "properties": {
                        "name": _NAME,
                        "value": {
                            "anyOf": [_VALUE, {"type": "null"}],
                            "description": "null if the counter does not exist, or is broken.",
                        },
                        "broken": {
                            "const": True,
                            "description": "Present if the store holds something that is not an "
                            "integer under the counter's key.",
                        },
                    },
                },
            },
            "next": {
                "type": "string",
                "description": "Path and query of the next page. Present if there may be one.",
            },
        },
    },
    "Series": object_schema(
        name=_NAME,
        by={"enum": list(MAX_DAYS)},
        series={
            "type": "array",
            "description": "Days or hours in UTC, even those without hits; the current one last.",
            "items": {
                "type": "object",
                "required": ["start", "hits"],
                "properties": {
                    "start": {
                        "type": "string",
                        "pattern": r"^\d{4}-\d\d-\d\d(T\d\d:00:00Z)?$",
                        "description": "Date of a day, or start of an hour.",
                    },
                    "hits": _AMOUNT,
                    "visitors": {
                        **_AMOUNT,
                        "description": "Unique visitors of a day, within 2 %. Absent by hour.",
                    },
                },
            },
        },
    ),
    "NewValue": {**object_schema(value=_VALUE), "additionalProperties": False},
    "Change": object_schema(
        name=_NAME,
        value=_VALUE,
        was={
            "anyOf": [_VALUE, {"type": "null"}],
            "description": "The previous value, null if the counter did not exist.",
        },
    ),
    "Deletion": object_schema(name=_NAME, was=_VALUE),
    "Spooled": object_schema(counted={"const": COUNTED_MEMBER[Outcome.SPOOLED]}),
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
                "enum": [COUNTED_MEMBER[Outcome.NOT_COUNTED], COUNTED_MEMBER[Outcome.UNKNOWN]],
                "description": "Outcome of the hit or change. A hit with an Idempotency-Key whose "
                "outcome is unknown can be sent again without counting twice.",
            },
            "reason": {
                "const": IDEMPOTENCY_MEMORY,
                "description": "The store's memory is too full for another Idempotency-Key. A hit "
                "without a key is counted.",
            },
        },
    },
}

HEADERS: dict[str, dict[str, Any]] = {
    "NoStore": {"required": True, "schema": {"const": "no-store"}},
    "NoCache": {"required": True, "schema": {"const": "no-cache"}},
    "ETag": {
        "description": "Send it as If-None-Match: 304 means that the copy is still valid.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9a-f]+"$'},
    },
    "Vary": {
        "required": True,
        "schema": {"type": "string", "pattern": "^Accept(, Origin)?$"},
    },
    "Counter-Status": {
        "description": "Present if a picture replaces a problem, or a hit was spooled: the status "
        "that the same request has in another media type.",
        "schema": {"type": "integer", "minimum": 202, "maximum": 599},
    },
    "Counted": {
        "description": "Outcome of the visit. Present if a picture that counts has no value.",
        "schema": {"enum": ["false", Outcome.UNKNOWN.value, Outcome.SPOOLED.value]},
    },
    "Retry-After": {
        "description": "Seconds after which to try again. Absent if that could count twice: the "
        "outcome is unknown, and the request had no Idempotency-Key.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Idempotent-Replayed": {
        "description": "Present if the key was counted before: the response repeats the first.",
        "schema": {"const": "true"},
    },
    "Location": {
        "description": "URL of the created counter.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "WWW-Authenticate": {"required": True, "schema": {"type": "string", "pattern": "^Bearer "}},
}

SECURITY = {
    "admin": {
        "type": "http",
        "scheme": "bearer",
        "description": "The admin key of the service (COUNTER_ADMIN_KEY).",
    },
    "metrics": {
        "type": "http",
        "scheme": "bearer",
        "description": "The metrics token, if one is set (COUNTER_METRICS_TOKEN).",
    },
}

NAME_IN_PATH = {"name": "name", "in": "path", "required": True, **schema("Name")}
URL_SAFE_NAME_IN_PATH = NAME_IN_PATH | schema("PlainName")
AMOUNT = {
    "name": "amount",
    "in": "query",
    "description": "Amount to add.",
    "schema": {**_AMOUNT, "minimum": 1, "default": 1},
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Hits on one counter with the same key count once, for a day, on any replica. "
    "The quotes are optional around a key without spaces, quotes, commas and semicolons "
    "(draft-ietf-httpapi-idempotency-key-header).",
    "schema": {"type": "string", "pattern": f"^(?:{QUOTED.pattern}|{BARE.pattern})$"},
    "example": '"8e03978e-40d5"',
}
IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "ETag of the client's copy: 304 if it is still valid.",
    "schema": {"type": "string"},
}
IF_ABSENT = {
    "name": "If-None-Match",
    "in": "header",
    "description": "Set the counter only if it does not exist: 412 if it exists.",
    "schema": {"const": "*"},
}
BY = {
    "name": "by",
    "in": "query",
    "description": "Unit of the series.",
    "schema": {"enum": list(MAX_DAYS), "default": "day"},
}
DAYS = {
    "name": "days",
    "in": "query",
    "description": f"Number of days, today included: up to {MAX_DAYS['day']} (default 30), by hour "
    f"up to {MAX_DAYS['hour']} (default 2).",
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_DAYS["day"]},
}
