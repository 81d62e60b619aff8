"""Validation of names, amounts, idempotency keys and settings."""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias, get_args

from .errors import (
    ConfigurationError,
    InvalidAmountError,
    InvalidIdempotencyKeyError,
    InvalidNameError,
    printable,
)

#: Largest and smallest value of a counter: a signed 64-bit integer.
MAX_VALUE = 2**63 - 1
MIN_VALUE = -(2**63)

DEFAULT_PREFIX = "counter:"
DEFAULT_TIMEOUT = 0.5

#: Where a hit must be stored before it is acknowledged: in memory, on disk, on one replica, or on
#: the number of replicas that follows the colon.
Durability: TypeAlias = Literal[
    "memory", "fsync", "replica", "replica:1", "replica:2", "replica:3", "replica:4", "replica:5"
]

#: What happens to a hit when the journal is full: the oldest entry is dropped, or the hit rejected.
OnFull: TypeAlias = Literal["drop", "reject"]

#: Longest name, in characters.
MAX_NAME = 64
NAME = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_NAME}}}")
#: Suffixes that select the format when a counter is read over HTTP.
FORMAT_SUFFIXES = (".json", ".txt", ".svg")

_NO_SUFFIX = "".join(rf"(?<!{re.escape(suffix)})" for suffix in FORMAT_SUFFIXES)
#: Name of a counter that can be created and changed over HTTP: each URL then means one counter, for
#: all methods. "." and ".." are excluded because clients resolve them as path segments.
URL_SAFE_NAME = re.compile(rf"(?!\.{{1,2}}(?:/|$)){NAME.pattern}{_NO_SUFFIX}")

_PREFIX = re.compile(r"[A-Za-z0-9._:/-]{0,64}")
_IDEMPOTENCY_KEY = re.compile(r"[ -~]{1,255}")


def check_name(name: object) -> str:
    """Return the name, or raise :class:`InvalidNameError`."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidNameError(name)
    return str.__str__(name)  # plain text, even for a member of a StrEnum


def check_idempotency_key(idempotency_key: object) -> str:
    """Return the idempotency key, or raise :class:`InvalidIdempotencyKeyError`."""
    if not isinstance(idempotency_key, str) or not _IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        raise InvalidIdempotencyKeyError(idempotency_key)
    return str.__str__(idempotency_key)


def check_prefix(prefix: object) -> str:
    """Return the prefix, or raise :class:`ConfigurationError`."""
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        raise ConfigurationError(
            "prefix", f"{printable(prefix)} is not 0 to 64 characters of A-Z a-z 0-9 . _ : / -"
        )
    return prefix


def check_timeout(timeout: Any) -> float:
    """Return the timeout in seconds, or raise :class:`ConfigurationError`."""
    try:
        seconds = float(timeout)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0.01 <= seconds <= 60:
        raise ConfigurationError(
            "timeout", f"{printable(timeout)} is not a number of seconds from 0.01 to 60"
        )
    return seconds


def check_durability(durability: Any) -> Durability:
    """Return the durability, or raise :class:`ConfigurationError`."""
    known = get_args(Durability)
    if durability not in known:
        raise ConfigurationError(
            "durability", f"{printable(durability)} is not one of {', '.join(known)}"
        )
    return durability  # type: ignore[no-any-return]


def required_replicas(durability: Durability) -> int:
    """Return the number of replicas that must have a hit: 0 unless it is ``replica``."""
    kind, _, number = durability.partition(":")
    return int(number or 1) if kind == "replica" else 0


def check_integer(number: object, low: int, high: int = MAX_VALUE) -> int:
    """Return the number, an integer from ``low`` to ``high``.

    :raises InvalidAmountError: it is out of bounds or not an integer.
    """
    if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
        raise InvalidAmountError(number, f"from {low} to {high}")
    return int(number)
