"""What the service's description refers to: documents, headers and parameters."""

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
    """Return what says that something has a schema of the components."""
    return {"schema": ref("schemas", name)}


def record(**members: Any) -> dict[str, Any]:
    """Return the schema of a document that has all these members."""
    return {"type": "object", "required": list(members), "properties": members}


_NAME = ref("schemas", "Name")
_VALUE = ref("schemas", "Value")
_AMOUNT = {"type": "integer", "format": "int64", "minimum": 0, "maximum": MAX_VALUE}
_COUNTED = {"type": "boolean", "description": "Whether this request counted."}
_REASON = {
    "enum": ["prefetch", "bot", "reload"],
    "description": "Why it did not count, where it might have: a browser fetched it before anybody "
    "looked; its user agent is that of a program that is known; the visitor had counted a moment "
    "ago. The last two are only where the service is set up so.",
}

SCHEMAS = {
    "Name": {"type": "string", "pattern": f"^{NAME.pattern}$"},
    "PlainName": {
        "type": "string",
        "pattern": f"^{URL_SAFE_NAME.pattern}$",
        "description": "A name that does not end like a form, .json, .txt or .svg, in which a "
        "counter is read; nor a folder's, . or .. in paths.",
    },
    "Value": {"type": "integer", "format": "int64", "minimum": MIN_VALUE, "maximum": MAX_VALUE},
    "Counter": record(name=_NAME, value=_VALUE, counted={"const": False}),
    "Hit": {
        **record(name=_NAME, value=_VALUE, counted=_COUNTED),
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
                            "description": "null where there is no such counter, or it is broken.",
                        },
                        "broken": {
                            "const": True,
                            "description": "Present where the store holds something that is no "
                            "integer where this counter should be.",
                        },
                    },
                },
            },
            "next": {
                "type": "string",
                "description": "Path and query of the next page, where there may be one.",
            },
        },
    },
    "Series": record(
        name=_NAME,
        by={"enum": list(MAX_DAYS)},
        series={
            "type": "array",
            "description": "Days or hours, in UTC, the present one last; those without hits, too.",
            "items": {
                "type": "object",
                "required": ["start", "hits"],
                "properties": {
                    "start": {
                        "type": "string",
                        "pattern": r"^\d{4}-\d\d-\d\d(T\d\d:00:00Z)?$",
                        "description": "The date of a day; when an hour begins.",
                    },
                    "hits": _AMOUNT,
                    "visitors": {
                        **_AMOUNT,
                        "description": "Unique visitors of a day, within 2 %. Not by hour.",
                    },
                },
            },
        },
    ),
    "NewValue": {**record(value=_VALUE), "additionalProperties": False},
    "Change": record(
        name=_NAME,
        value=_VALUE,
        was={
            "anyOf": [_VALUE, {"type": "null"}],
            "description": "The value before, null where there was no such counter.",
        },
    ),
    "Deletion": record(name=_NAME, was=_VALUE),
    "Spooled": record(counted={"const": COUNTED_MEMBER[Outcome.SPOOLED]}),
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
                "description": "What became of the hit, or of the change. Where it is unknown, the "
                "same hit can be sent again without counting twice, if it had an Idempotency-Key.",
            },
            "reason": {
                "const": IDEMPOTENCY_MEMORY,
                "description": "The store's memory is too full for another Idempotency-Key. A hit "
                "without one counts.",
            },
        },
    },
}

HEADERS: dict[str, dict[str, Any]] = {
    "NoStore": {"required": True, "schema": {"const": "no-store"}},
    "NoCache": {"required": True, "schema": {"const": "no-cache"}},
    "ETag": {
        "description": "For If-None-Match: what was read still holds where that answers 304.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9a-f]+"$'},
    },
    "Vary": {
        "required": True,
        "schema": {"type": "string", "pattern": "^Accept(, Origin)?$"},
    },
    "Counter-Status": {
        "description": "Present where a picture stands in place of a problem, or of a hit that "
        "was written to disk: the status that the answer has where no picture is asked for.",
        "schema": {"type": "integer", "minimum": 202, "maximum": 599},
    },
    "Counted": {
        "description": "Present where a picture that counts has no value: whether the visit was "
        "counted.",
        "schema": {"enum": ["false", Outcome.UNKNOWN.value, Outcome.SPOOLED.value]},
    },
    "Retry-After": {
        "description": "Seconds after which to try again. Absent where that might count twice: the "
        "outcome is unknown, and the request had no Idempotency-Key.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Idempotent-Replayed": {
        "description": "Present where this key had counted before; the answer is that one's.",
        "schema": {"const": "true"},
    },
    "Location": {
        "description": "Where the counter is that was made.",
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
        "description": "The token of the metrics, where there is one (COUNTER_METRICS_TOKEN).",
    },
}

NAME_IN_PATH = {"name": "name", "in": "path", "required": True, **schema("Name")}
PLAIN_NAME_IN_PATH = NAME_IN_PATH | schema("PlainName")
AMOUNT = {
    "name": "amount",
    "in": "query",
    "description": "How much to count at once.",
    "schema": {**_AMOUNT, "minimum": 1, "default": 1},
}
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Hits on one counter with the same key count once, for a day, whichever replica "
    "they reach. The quotes may be left out around what has no spaces, quotes, commas or "
    "semicolons (draft-ietf-httpapi-idempotency-key-header).",
    "schema": {"type": "string", "pattern": f"^(?:{QUOTED.pattern}|{BARE.pattern})$"},
    "example": '"8e03978e-40d5"',
}
IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The ETag of what the client has: 304 where it still holds.",
    "schema": {"type": "string"},
}
IF_ABSENT = {
    "name": "If-None-Match",
    "in": "header",
    "description": "Set the counter only where there is none: 412 where there is.",
    "schema": {"const": "*"},
}
BY = {
    "name": "by",
    "in": "query",
    "description": "What to count by.",
    "schema": {"enum": list(MAX_DAYS), "default": "day"},
}
DAYS = {
    "name": "days",
    "in": "query",
    "description": f"How many days to go back, today included: up to {MAX_DAYS['day']}, by hour "
    f"{MAX_DAYS['hour']}; 30 where it is not said, and 2 by hour.",
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_DAYS["day"]},
}
