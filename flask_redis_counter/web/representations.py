"""What a counting request asks for, and its answer: the same on the fast path and in Flask."""

from __future__ import annotations

import re
from collections.abc import Mapping

from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest

from ..counting.hit import Hit
from ..errors import InvalidAmountError
from ..outcome import Outcome
from ..validation import FORMAT_SUFFIXES, MAX_VALUE, URL_SAFE_NAME, check_integer, check_name

#: What goes with every answer that has counted, or might have.
HEADERS = {"Cache-Control": "no-store", "Vary": "Accept"}

#: Why a hit with a key did not count that counts without one.
NO_MEMORY = "idempotency_memory"

#: What goes with the answer to a hit that was counted before, under the same key.
REPLAYED = {"Idempotent-Replayed": "true"}

#: The JSON member ``counted`` for each outcome: whether the hit was counted, where that is known.
COUNTED_MEMBER: Mapping[Outcome, bool | str] = {
    Outcome.COUNTED: True,
    Outcome.REPLAYED: True,
    Outcome.SKIPPED: False,
    Outcome.NOT_COUNTED: False,
    Outcome.UNKNOWN: Outcome.UNKNOWN.value,
    Outcome.SPOOLED: Outcome.SPOOLED.value,
}

#: A structured header's string (RFC 8941), as the draft has it, or the bare word that many send.
QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\]){1,255})"')
BARE = re.compile(r"[!#-+\--:<-\[\]-~]{1,255}")


def require_url_safe_name(name: str) -> str:
    """Return the name of a counter that is to be made or changed.

    :raises InvalidNameError: it is outside the rules.
    :raises BadRequest: it is within them, and is another counter's where that is read.
    """
    if not URL_SAFE_NAME.fullmatch(check_name(name)):
        raise BadRequest(
            f"Nothing is made or changed here under the name {name}: a name that ends in "
            f"{', '.join(FORMAT_SUFFIXES)} is read as another's in that form, "
            "and . and .. are folders."
        )
    return name


def parse_idempotency_key(header: str | None) -> str | None:
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


def parse_amount(query: MultiDict[str, str]) -> int:
    """Return the ``amount`` of a query, 1 where there is none.

    :raises InvalidAmountError: it is no integer from 1 to 2**63 - 1, or there are several.
    :raises BadRequest: there is something else, perhaps an amount in other words.
    """
    reject_unknown_params(query, "amount")
    return get_integer(query, "amount", 1, MAX_VALUE, 1)


def get_integer(query: MultiDict[str, str], name: str, low: int, high: int, default: int) -> int:
    """Return a number of a query.

    :raises InvalidAmountError: it is no integer from ``low`` to ``high``, or there are several.
    """
    given = query.getlist(name)
    if not given:
        return default
    if len(given) > 1 or not re.fullmatch("[0-9]{1,19}", given[0]):
        raise InvalidAmountError(", ".join(given), f"from {low} to {high}")
    return check_integer(int(given[0]), low, high)


def get_text(query: MultiDict[str, str], name: str, default: str) -> str:
    """Return a text of a query.

    :raises BadRequest: there are several.
    """
    given = query.getlist(name)
    if len(given) > 1:
        raise BadRequest(f"There is more than one {name}.")
    return given[0] if given else default


def integer_or(query: MultiDict[str, str], name: str, low: int, high: int, default: int) -> int:
    """Return the first number of this name that a page's or picture's query has.

    :returns: the default where there is none from ``low`` to ``high``.
    """
    text = query.get(name, "")
    if not re.fullmatch("[0-9]{1,19}", text) or not low <= int(text) <= high:
        return default
    return int(text)


def reject_unknown_params(query: MultiDict[str, str], *names: str) -> None:
    """Reject a query of the JSON API that has other parameters: one may be a misspelt name.

    Pages and pictures ignore what they do not know instead: links to them get parameters from
    newsletters (``utm_source``), and pictures are told from a cached one by them (``?v=2``).

    :raises BadRequest: there are other parameters.
    """
    if unknown := ", ".join(sorted(query.keys() - set(names))):
        known = f"only {' and '.join(names)}" if names else "and no other parameters"
        raise BadRequest(f"This takes no {unknown}, {known}.")


def render_json(name: str, value: int, *, counted: bool, reason: str | None = None) -> str:
    """Return the document of a counter's value; neither word has what JSON would escape.

    :param reason: why it did not count, where it might have.
    """
    said = "true" if counted else "false"
    why = "" if reason is None else f', "reason": "{reason}"'
    return f'{{"name": "{name}", "value": {value}, "counted": {said}{why}}}\n'


def hit_headers(hit: Hit) -> dict[str, str]:
    """Return what goes with the answer to a hit."""
    return HEADERS | REPLAYED if hit.replayed else HEADERS
