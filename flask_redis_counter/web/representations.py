"""Representation of a hit or a value as JSON with headers; shared with the fast path."""

from __future__ import annotations

from collections.abc import Mapping

from ..counting.hit import Hit
from ..outcome import Outcome

#: Headers of every response that counted, or might have.
HEADERS = {"Cache-Control": "no-store", "Vary": "Accept"}

#: Header of the response to a hit that was counted before under the same key.
REPLAYED = {"Idempotent-Replayed": "true"}

#: The JSON member ``counted`` of each outcome.
COUNTED_MEMBER: Mapping[Outcome, bool | str] = {
    Outcome.COUNTED: True,
    Outcome.REPLAYED: True,
    Outcome.SKIPPED: False,
    Outcome.NOT_COUNTED: False,
    Outcome.UNKNOWN: Outcome.UNKNOWN.value,
    Outcome.SPOOLED: Outcome.SPOOLED.value,
}

#: ``reason`` of a problem: a hit with a key was not counted, but one without a key would be.
IDEMPOTENCY_MEMORY = "idempotency_memory"


def render_json(name: str, value: int, *, counted: bool, reason: str | None = None) -> str:
    """Return the JSON document of a counter's value.

    It is formatted by hand, for speed: neither text can contain a character that JSON escapes.

    :param reason: why the request did not count; None if it counted, or only read.
    """
    counted_json = "true" if counted else "false"
    reason_json = "" if reason is None else f', "reason": "{reason}"'
    return f'{{"name": "{name}", "value": {value}, "counted": {counted_json}{reason_json}}}\n'


def hit_headers(hit: Hit) -> dict[str, str]:
    """Return the headers of the response to a hit."""
    return HEADERS | REPLAYED if hit.replayed else HEADERS
