"""A hit: while it is pending, and as the result for its caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import (
    CounterError,
    DurabilityUnsupportedError,
    OutcomeUnknownError,
    StoreRejectedError,
    StoreUnavailableError,
)
from ..limits import NO_LIMITS, Limits, RateLimit
from ..validation import check_idempotency_key, check_integer
from .visitors import ReportedVisitors, VisitorCache, hash_visitor

if TYPE_CHECKING:
    from .call import ScriptCall


# A named tuple, because the hot path makes one for each hit: that takes 40 % of the time of a
# frozen dataclass. So the order of the fields is public API.
class Hit(NamedTuple):
    """Result of a hit.

    .. code-block:: python

        hit = counter.hit("visits", idempotency_key="order-4711")
        print(f"visit number {hit.value}")
        if hit.replayed:
            print("this order was counted before")

    :ivar name: name of the counter.
    :ivar value: value of the counter after this hit; unique among the hits that counted.
    :ivar replayed: True if an earlier hit with the same idempotency key counted; ``value`` is
        the value of that hit.
    :ivar counted: False if the visitor was already counted within ``visitor_window``; ``value``
        is then the current value.
    """

    name: str
    value: int
    replayed: bool = False
    counted: bool = True

    def __int__(self) -> int:
        return self.value


class PendingHit:
    """A hit and its outcome, from the call of ``hit()`` until its return.

    :ivar started_at: start of the hit, by the clock of the dispatcher.
    :ivar deadline: end of the time for the hit, by the same clock.
    :ivar visitor: hash of the visitor, or None.
    :ivar client: hash of the client, for rate limits, or None.
    :ivar reported: visitors that need not be sent to the store; None: send the visitor each time.
    :ivar limits: limits for the hit.
    :ivar visitor_window: seconds within which the visitor counts once; 0: no window.
    :ivar rate: rate limit of the client, or None.
    :ivar batch: batch of the hit, or None while it is queued and after it has a value.
    :ivar call: call of the script, or None before the batch is first sent and after the hit has a
        value.
    :ivar is_leader: whether the caller of this hit sends the batch.
    :ivar value: value of the counter after the hit, or None.
    :ivar error: reason why there is no value, or None.
    :ivar replayed: whether an earlier hit with the same idempotency key counted.
    :ivar counted: False if the visitor was already counted within the window.
    :ivar waiter: lock that the dispatcher releases to wake the caller, or callback for the outcome.
    """

    __slots__ = (
        "amount",
        "batch",
        "call",
        "client",
        "counted",
        "deadline",
        "error",
        "idempotency_key",
        "is_leader",
        "key",
        "limits",
        "rate",
        "replayed",
        "reported",
        "started_at",
        "value",
        "visitor",
        "visitor_window",
        "waiter",
    )

    def __init__(
        self,
        key: str,
        amount: int,
        idempotency_key: str | None,
        deadline: float = 0.0,
        *,
        visitor: str | None = None,
        client: str | None = None,
        limits: Limits = NO_LIMITS,
        reported: ReportedVisitors | None = None,
    ) -> None:
        self.key: str = key
        self.amount: int = amount
        self.idempotency_key: str | None = idempotency_key
        self.started_at: float = 0.0
        self.deadline: float = deadline
        self.visitor: str | None = visitor
        self.reported: ReportedVisitors | None = reported
        self.client: str | None = client
        self.limits: Limits = limits
        self.visitor_window: int = 0
        self.rate: RateLimit | None = None
        if limits.needs_screening:
            self.visitor_window = (limits.visitor_window or 0) if visitor is not None else 0
            self.rate = limits.rate if client is not None else None
        self.batch: Any = None
        self.call: ScriptCall | None = None
        self.is_leader: bool = False
        self.value: int | None = None
        self.error: CounterError | None = None
        self.replayed: bool = False
        self.counted: bool = True
        self.waiter: Any = None

    @property
    def is_pending(self) -> bool:
        """Whether the hit has no outcome yet."""
        return self.value is None and self.error is None

    def result(self) -> int:
        """Return the value of the hit, or raise its error."""
        if self.error is not None:
            raise _copy_error(
                self.error if self.idempotency_key is None else _as_retried(self.error)
            )
        if self.value is None:
            raise OutcomeUnknownError("the hit ended without an outcome")
        return self.value


def make_pending_hit(
    key: str,
    amount: int,
    idempotency_key: str | None,
    visitor: str | None,
    client: str | None,
    limits: Limits,
    visitors: VisitorCache,
) -> PendingHit:
    """Check the arguments of :meth:`.RedisCounter.hit` and return a hit that can be sent."""
    return PendingHit(
        key,
        check_integer(amount, 1),
        None if idempotency_key is None else check_idempotency_key(idempotency_key),
        visitor=None if visitor is None else hash_visitor(visitor),
        client=None if client is None else hash_visitor(client),
        limits=limits,
        # With a visitor_window, the store needs the visitor of each hit.
        reported=visitors.for_counter(key)
        if visitor is not None and limits.visitor_window is None
        else None,
    )


def _as_retried(error: CounterError) -> CounterError:
    """Return the error for a hit with an idempotency key, which may have been sent before."""
    unsent = isinstance(error, StoreUnavailableError | StoreRejectedError)
    if not unsent or isinstance(error, DurabilityUnsupportedError):
        return error
    unknown = OutcomeUnknownError(
        f"this attempt was not counted; an earlier one with the same key may have been: {error}"
    )
    unknown.__cause__ = error
    return unknown


def _copy_error(error: CounterError) -> CounterError:
    """Return a copy of an error: several threads must not raise the same object."""
    copy = type(error).__new__(type(error))
    copy.args = error.args
    copy.__dict__.update(error.__dict__)
    copy.__cause__ = error.__cause__
    return copy
