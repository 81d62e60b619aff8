"""Every error this package raises.

CounterError
├── ConfigurationError        a setting is missing, malformed or out of bounds
├── InvalidNameError          a counter name outside the rules
├── InvalidAmountError        an amount or a value outside the rules
├── InvalidIdempotencyKeyError         a token outside the rules
├── InvalidPeriodError          days of a series outside the rules
├── IdempotencyKeyReusedError          a token that stands for a hit of another amount
├── CounterExistsError        there is one of that name, and only a new one was to be set
├── CounterNotFoundError       there is none of that name, and none is made
├── TooManyCountersError      the same, because there are as many as there may be
├── RateLimitExceededError             the client comes more often than it may
├── IdempotencyMemoryError    the store's memory is too full for another token
├── NotAnIntegerError         the key holds something that is no integer
├── CounterOverflowError      the value would leave the signed 64-bit range
├── ImportFileError           a file of counters that cannot be read, or is none
├── HitSpooledError              written down here, to be counted when the store is back
├── SpoolError                not written down either: the spool is full, or its disk refuses
└── StoreError                the store did not do what it was asked
    ├── StoreUnavailableError     not reached in time: not counted
    ├── StoreRejectedError         reached, and refused: not counted
    │   └── DurabilityUnsupportedError      it cannot do what the durability asks for
    └── OutcomeUnknownError       sent, no answer: perhaps counted
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

# What stands in a URL before its host.
_CREDENTIALS = re.compile(r"//.*@", re.DOTALL)


def printable(value: object) -> str:
    """Return a value as it may stand in a message, which often ends in a log.

    Text and numbers are shown, credentials in a URL are not, and of all else its type alone: a
    client, bytes or a dict may hold a password.
    """
    if isinstance(value, str):
        return f"{_CREDENTIALS.sub('//***@', str.__str__(value))!r:.100}"
    if isinstance(value, int) and abs(value) >= 10**100:
        return f"an integer of {value.bit_length()} bits"
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    return f"a {type(value).__qualname__}"


class CounterError(Exception):
    """The root of the tree: catching it catches everything raised here on purpose.

    :cvar outcome: the outcome of the hit or change: ``Outcome.NOT_COUNTED``,
        ``Outcome.UNKNOWN`` or ``Outcome.SPOOLED``.
    """

    outcome: ClassVar[Outcome] = Outcome.NOT_COUNTED


class ConfigurationError(CounterError, ValueError):
    """A setting is missing, malformed or out of bounds.

    :ivar setting: the name of the setting.
    :ivar problem: what is wrong with it.
    """

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting
        self.problem = problem


class InvalidNameError(CounterError, ValueError):
    """A counter name is not 1 to 64 characters of ``A-Z a-z 0-9 . _ -``.

    :ivar name: what was given.
    """

    def __init__(self, name: object, further: str = "") -> None:
        super().__init__(
            f"{printable(name)} is no counter name: use 1 to 64 characters of A-Z a-z 0-9 . _ -"
            + further
        )
        self.name = name


class InvalidAmountError(CounterError, ValueError):
    """An amount or a value is not an integer within its bounds.

    :ivar amount: what was given.
    """

    def __init__(self, amount: object, bounds: str) -> None:
        super().__init__(f"{printable(amount)} is out of bounds: use an integer {bounds}")
        self.amount = amount


class InvalidIdempotencyKeyError(CounterError, ValueError):
    """A token is not 1 to 255 printable ASCII characters.

    :ivar idempotency_key: what was given.
    """

    def __init__(self, idempotency_key: object) -> None:
        super().__init__("that is no token: use 1 to 255 printable ASCII characters")
        self.idempotency_key = idempotency_key


class InvalidPeriodError(CounterError, ValueError):
    """What a series is asked for is neither of days nor of hours, or goes too far back."""


class CounterExistsError(CounterError):
    """There is a counter of that name, and only a new one was to be set: it was left as it is."""


class CounterNotFoundError(CounterError):
    """There is no counter of that name, to be read or deleted, or to be hit where none is made.

    :ivar name: the name.
    """

    def __init__(self, name: str, further: str = "") -> None:
        super().__init__(f"there is no counter {name!r}{further}")
        self.name = name


class TooManyCountersError(CounterError):
    """There is no counter of that name, and no room for another one: not counted."""


class RateLimitExceededError(CounterError):
    """The client comes more often than its rate allows: not counted.

    :ivar seconds: after how many seconds it may come again.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"that is too often: not counted; come again in {seconds:.3g} s")
        self.seconds = seconds


class IdempotencyMemoryError(CounterError):
    """The store's memory is too full for another token: not counted. Without a token it counts."""


class IdempotencyKeyReusedError(CounterError):
    """The token stands for a hit of another amount, which was counted; this one was not.

    :ivar amount: the amount that the token stands for.
    """

    def __init__(self, amount: str) -> None:
        super().__init__(f"the token stands for a hit of amount {amount}; this one was not counted")
        self.amount = int(amount)


class NotAnIntegerError(CounterError):
    """The counter's key holds something that is no integer; it was left as it is.

    :ivar key: the key in the store.
    """

    def __init__(self, key: str) -> None:
        super().__init__(
            f"the key {key!r} holds something that is no integer; it was left untouched: "
            "delete it, or choose another name or COUNTER_PREFIX"
        )
        self.key = key


class CounterOverflowError(CounterError):
    """The value would leave the signed 64-bit range; it was left as it is.

    :ivar key: the key in the store.
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"the value of {key!r} would leave the signed 64-bit range")
        self.key = key


class ImportFileError(CounterError):
    """A file of counters cannot be read, or nobody knows what it is."""


class HitSpooledError(CounterError):
    """The store did not take the hit; it was written down here, and will be counted once."""

    outcome = Outcome.SPOOLED


class SpoolError(CounterError):
    """The spool did not take a hit: it is full, or its disk refuses.

    As the cause of a store's error it changes nothing about that one.
    """


class StoreError(CounterError):
    """The store did not do what it was asked; ``outcome`` says whether it may have been done."""


class StoreUnavailableError(StoreError):
    """The store was not reached in time, or did not answer a read: nothing was changed.

    :ivar remedy: what to do about it; empty where that is not known.
    """

    remedy = ""


class StoreRejectedError(StoreError):
    """The store answered that it will not (full, read-only, loading, no permission …)."""


class DurabilityUnsupportedError(StoreRejectedError):
    """The server lacks what the durability asks for: it is too old, or set up without it."""


class OutcomeUnknownError(StoreError):
    """The command was sent and no answer came back: the store may have executed it."""

    outcome = Outcome.UNKNOWN
