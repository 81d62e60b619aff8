"""Every error that this package raises.

CounterError
├── ConfigurationError            a setting or an argument is malformed or out of bounds
├── InvalidNameError              a counter name does not match the rules
├── InvalidAmountError            an amount or a value is out of bounds
├── InvalidIdempotencyKeyError    an idempotency key does not match the rules
├── InvalidPeriodError            the unit or the days of a series are out of bounds
├── IdempotencyKeyReusedError     the idempotency key was used for a hit of another amount
├── CounterExistsError            the counter exists, and only a new one may be set
├── CounterNotFoundError          the counter does not exist
├── TooManyCountersError          the counter does not exist, and no more may be created
├── RateLimitExceededError        the client exceeds its rate limit
├── IdempotencyMemoryError        the store has no memory for another idempotency key
├── NotAnIntegerError             the key of the counter does not hold an integer
├── CounterOverflowError          the value would leave the signed 64-bit range
├── ImportFileError               a file cannot be imported
├── HitSpooledError               the hit waits in the spool, and will be counted
├── SpoolError                    the spool did not accept the hit
└── StoreError                    the store failed
    ├── StoreUnavailableError     not reached in time: not counted
    ├── StoreRejectedError        the command was rejected: not counted
    │   └── DurabilityUnsupportedError    the server does not support the durability
    └── OutcomeUnknownError       sent, but not answered: it may have been counted
"""

from __future__ import annotations

import re
from typing import ClassVar

from .outcome import Outcome

__all__ = [
    "ConfigurationError",
    "CounterError",
    "CounterExistsError",
    "CounterNotFoundError",
    "CounterOverflowError",
    "DurabilityUnsupportedError",
    "HitSpooledError",
    "IdempotencyKeyReusedError",
    "IdempotencyMemoryError",
    "ImportFileError",
    "InvalidAmountError",
    "InvalidIdempotencyKeyError",
    "InvalidNameError",
    "InvalidPeriodError",
    "NotAnIntegerError",
    "OutcomeUnknownError",
    "RateLimitExceededError",
    "SpoolError",
    "StoreError",
    "StoreRejectedError",
    "StoreUnavailableError",
    "TooManyCountersError",
]

# Credentials in a URL.
_CREDENTIALS = re.compile(r"//.*@", re.DOTALL)


def printable(value: object) -> str:
    """Return a representation of a value that is safe in messages and logs.

    Text is cut to 100 characters and shown without the credentials of a URL. Of a value
    that is neither text nor number, only the type is shown: it may hold a password.
    """
    if isinstance(value, str):
        return f"{_CREDENTIALS.sub('//***@', str.__str__(value))!r:.100}"
    if isinstance(value, int) and abs(value) >= 10**100:
        return f"an integer of {value.bit_length()} bits"
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    return f"a {type(value).__qualname__}"


class CounterError(Exception):
    """Base class of all errors that this package raises.

    :cvar outcome: the outcome of the hit, or of the change, that failed. ``NOT_COUNTED``: nothing
        was changed; the call can be repeated. ``UNKNOWN``: it may have been done; repeat only a
        hit with an idempotency key. ``SPOOLED``: it will be counted; do not repeat it.
    """

    outcome: ClassVar[Outcome] = Outcome.NOT_COUNTED


class ConfigurationError(CounterError, ValueError):
    """A setting or an argument is missing, malformed or out of bounds. Correct it.

    :ivar setting: the name of the setting or argument.
    :ivar problem: the reason why it is invalid.
    """

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting
        self.problem = problem


class InvalidNameError(CounterError, ValueError):
    """The counter name is not 1 to 64 characters of ``A-Z a-z 0-9 . _ -``. Not counted.

    :ivar name: the invalid name.
    """

    def __init__(self, name: object, hint: str = "") -> None:
        super().__init__(
            f"invalid counter name {printable(name)}: use 1 to 64 characters of A-Z a-z 0-9 . _ -"
            + hint
        )
        self.name = name


class InvalidAmountError(CounterError, ValueError):
    """The amount or value is not an integer within its bounds. Not counted, not changed.

    :ivar amount: the invalid amount or value.
    """

    def __init__(self, amount: object, bounds: str) -> None:
        super().__init__(f"{printable(amount)} is out of bounds: use an integer {bounds}")
        self.amount = amount


class InvalidIdempotencyKeyError(CounterError, ValueError):
    """The idempotency key is not 1 to 255 printable ASCII characters. Not counted.

    :ivar idempotency_key: the invalid key.
    """

    def __init__(self, idempotency_key: object) -> None:
        super().__init__("invalid idempotency key: use 1 to 255 printable ASCII characters")
        self.idempotency_key = idempotency_key


class InvalidPeriodError(CounterError, ValueError):
    """The unit of a series is not ``day`` or ``hour``, or the number of days is out of bounds."""


class CounterExistsError(CounterError):
    """The counter exists, and ``if_absent`` was given: it was not changed."""


class CounterNotFoundError(CounterError):
    """The counter does not exist; a hit may not create it. Not counted.

    :ivar name: the counter name.
    """

    def __init__(self, name: str, hint: str = "") -> None:
        super().__init__(f"there is no counter {name!r}{hint}")
        self.name = name


class TooManyCountersError(CounterError):
    """The counter does not exist, and ``max_counters`` do: it was not created. Not counted.

    Delete counters, or raise the limit.
    """


class RateLimitExceededError(CounterError):
    """The client exceeds its rate limit. Not counted.

    :ivar retry_after: seconds after which a hit of this client counts again.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"rate limit exceeded: not counted; try again in {retry_after:.3g} s")
        self.retry_after = retry_after


class IdempotencyMemoryError(CounterError):
    """The store has no memory for another idempotency key. Not counted; a hit without a key counts.

    Raise the store's ``maxmemory``, or wait until keys expire, a day after their last use.
    """


class IdempotencyKeyReusedError(CounterError):
    """The idempotency key was used for a hit of another amount. This hit was not counted.

    Use a new key for each hit.

    :ivar amount: the amount of the earlier hit.
    """

    def __init__(self, amount: str) -> None:
        super().__init__(
            f"the idempotency key was used for a hit of amount {amount}; this hit was not "
            "counted: use a new key for each hit"
        )
        self.amount: int = int(amount)


class NotAnIntegerError(CounterError):
    """The key of the counter holds something that is not an integer. Not counted, not changed.

    Another program uses the key: delete it, or choose another name or prefix.

    :ivar key: the key in the store.
    """

    def __init__(self, key: str) -> None:
        super().__init__(
            f"the key {key!r} does not hold an integer; it was not changed: "
            "delete it, or choose another name or COUNTER_PREFIX"
        )
        self.key = key


class CounterOverflowError(CounterError):
    """The value would leave the signed 64-bit range. Not counted, not changed.

    Set the counter to a lower value, or count on another one.

    :ivar key: the key in the store.
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"the value of {key!r} would leave the signed 64-bit range")
        self.key = key


class ImportFileError(CounterError):
    """A file cannot be imported: it is unreadable, or its format is unknown."""


class HitSpooledError(CounterError):
    """The store did not accept the hit. It waits in the spool, and will be counted exactly once.

    Do not repeat the hit.
    """

    outcome = Outcome.SPOOLED


class SpoolError(CounterError):
    """The spool did not accept the hit: it is full, or its disk failed.

    ``hit()`` then raises the error of the store, and logs this one.
    """


class StoreError(CounterError):
    """The store failed. ``outcome`` says whether the command may have been executed."""


class StoreUnavailableError(StoreError):
    """The store was not reached in time, or did not answer a read. Nothing was changed.

    The call can be repeated.

    :ivar remedy: the action to take; empty if it is not known.
    """

    remedy = ""


class StoreRejectedError(StoreError):
    """The store rejected the command (full, read-only, loading, missing permission …).

    Nothing was changed; the message has the server's reason.
    """


class DurabilityUnsupportedError(StoreRejectedError):
    """The server does not support the configured durability: its version or setup lacks it.

    Nothing was changed. Set up the server, or choose another durability.
    """


class OutcomeUnknownError(StoreError):
    """The command was sent and not answered: the store may have executed it.

    A hit with the same idempotency key can be repeated, and counts at most once.
    """

    outcome = Outcome.UNKNOWN
