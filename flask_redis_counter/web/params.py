"""Parameters of a counting request: name, query and Idempotency-Key; shared with the fast path."""

from __future__ import annotations

import re

from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest

from ..errors import InvalidAmountError
from ..validation import FORMAT_SUFFIXES, MAX_VALUE, URL_SAFE_NAME, check_integer, check_name

#: An ``Idempotency-Key`` as a structured header's string (RFC 8941), as the draft asks.
QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\]){1,255})"')

#: An ``Idempotency-Key`` without quotes, as many clients send it.
BARE = re.compile(r"[!#-+\--:<-\[\]-~]{1,255}")


def require_url_safe_name(name: str) -> str:
    """Return the name of a counter that is to be created or changed.

    :raises InvalidNameError: the name is invalid.
    :raises BadRequest: the name is valid, but its URL is another resource's.
    """
    if not URL_SAFE_NAME.fullmatch(check_name(name)):
        raise BadRequest(
            f"The counter name {name} cannot be created or changed: the endings "
            f"{', '.join(FORMAT_SUFFIXES)} select a format in a URL, and . and .. are folders. "
            "Use another name."
        )
    return name


def parse_idempotency_key(header: str | None) -> str | None:
    """Return the key in an ``Idempotency-Key`` header, None if the header is absent.

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
    """Return the ``amount`` of a query, by default 1.

    :raises InvalidAmountError: it is not an integer from 1 to 2**63 - 1, or is repeated.
    :raises BadRequest: the query has another parameter, e.g. a misspelt ``amount``.
    """
    reject_unknown_params(query, "amount")
    return get_integer(query, "amount", 1, MAX_VALUE, 1)


def get_integer(query: MultiDict[str, str], name: str, low: int, high: int, default: int) -> int:
    """Return an integer parameter of a query.

    :raises InvalidAmountError: it is not an integer from ``low`` to ``high``, or is repeated.
    """
    values = query.getlist(name)
    if not values:
        return default
    if len(values) > 1 or not re.fullmatch("[0-9]{1,19}", values[0]):
        raise InvalidAmountError(", ".join(values), f"from {low} to {high}")
    return check_integer(int(values[0]), low, high)


def get_text(query: MultiDict[str, str], name: str, default: str) -> str:
    """Return a text parameter of a query.

    :raises BadRequest: it is repeated.
    """
    values = query.getlist(name)
    if len(values) > 1:
        raise BadRequest(f"The parameter {name} is repeated: send it once.")
    return values[0] if values else default


def get_integer_or_default(
    query: MultiDict[str, str], name: str, low: int, high: int, default: int
) -> int:
    """Return the first integer of this name in the query of a page or a picture.

    :returns: the default if it is absent, or not an integer from ``low`` to ``high``.
    """
    text = query.get(name, "")
    if not re.fullmatch("[0-9]{1,19}", text) or not low <= int(text) <= high:
        return default
    return int(text)


def reject_unknown_params(query: MultiDict[str, str], *names: str) -> None:
    """Reject a query of the JSON API that has other parameters: one may be a misspelt name.

    Pages and pictures ignore unknown parameters instead: newsletters add some to links
    (``utm_source``), and pages add some to pictures to bypass a cache (``?v=2``).

    :raises BadRequest: there are other parameters.
    """
    if unknown := ", ".join(sorted(query.keys() - set(names))):
        allowed = f"use only {' and '.join(names)}" if names else "this route takes none"
        raise BadRequest(f"Unknown query parameter {unknown}: {allowed}.")
