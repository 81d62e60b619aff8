"""What a counting request asks for, and its answer: the same on the fast path and in Flask."""

from __future__ import annotations

import re
from functools import lru_cache

from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest
from werkzeug.sansio.utils import get_host

from ..counter import Hit
from ..errors import InvalidAmountError
from ..rules import MAX_VALUE, check_integer

#: What goes with every answer that has a counter's value.
HEADERS = {"Cache-Control": "no-store", "Vary": "Accept"}

#: What goes with the answer to a hit that was counted before, under the same key.
REPLAYED = {"Idempotent-Replayed": "true"}

#: A structured header's string (RFC 8941), as the draft has it, or the bare word that many send.
QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\]){1,255})"')
BARE = re.compile(r"[!#-+\--:<-\[\]-~]{1,255}")


def token_in(header: str | None) -> str | None:
    """Return the token that an ``Idempotency-Key`` header holds, None where there is none.

    Syntax: draft-ietf-httpapi-idempotency-key-header.

    :raises BadRequest: the header is malformed.
    """
    if header is None:
        return None
    header = header.strip(" \t")
    if quoted := QUOTED.fullmatch(header):
        return re.sub(r"\\(.)", r"\1", quoted[1])
    if BARE.fullmatch(header):
        return header
    raise BadRequest(
        'The Idempotency-Key header is malformed: send "…", 1 to 255 printable ASCII characters.'
    )


def amount_in(query: MultiDict[str, str]) -> int:
    """Return the ``amount`` of a query, 1 where there is none.

    :raises InvalidAmountError: it is no integer from 1 to 2**63 - 1, or there are several.
    :raises BadRequest: there is something else, perhaps an amount in other words.
    """
    if unknown := ", ".join(query.keys() - {"amount"}):
        raise BadRequest(f"This takes no {unknown}, only an amount: ?amount=7.")
    given = query.getlist("amount")
    if not given:
        return 1
    if len(given) > 1 or not re.fullmatch("[0-9]{1,19}", given[0]):
        raise InvalidAmountError(", ".join(given), f"from 1 to {MAX_VALUE}")
    return check_integer(int(given[0]), 1)


def as_json(name: str, value: int, *, counted: bool) -> str:
    """Return the document of a counter's value; a name has nothing that JSON would escape."""
    said = "true" if counted else "false"
    return f'{{"name": "{name}", "value": {value}, "counted": {said}}}\n'


def headers_of(hit: Hit) -> dict[str, str]:
    """Return what goes with the answer to a hit."""
    return HEADERS | REPLAYED if hit.replayed else HEADERS


@lru_cache(maxsize=256)
def is_host(header: str | None) -> bool:
    """Whether a ``Host`` header is well-formed; none at all is."""
    return header is None or get_host("http", header) != ""
