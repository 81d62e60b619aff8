"""A hit: on its way, and as its caller gets it."""

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


# A named tuple, because the hot path makes one for each hit: it takes 40 % of the time that a
# frozen dataclass takes. So the order of the fields is public API.
class Hit(NamedTuple):
    """One visit that was counted.

    :ivar name: the counter's name.
    :ivar value: the value that this hit brought the counter to; no other hit gets the same.
    :ivar replayed: whether an earlier hit with the same token had counted, and this is its
        answer once more.
    :ivar counted: whether it counted: not where its visitor had, of late (``visitor_window``); the
        value is then what the counter stands at.
    """

    name: str
    value: int
    replayed: bool = False
    counted: bool = True

    def __int__(self) -> int:
        return self.value


class PendingHit:
    """A hit on its way.

    :ivar started_at: when the driver took it in, by the driver's clock.
    :ivar deadline: when its time is over, by the same clock.
    :ivar visitor: what tells who it is from others, None where nobody asks.
    :ivar client: what tells who sends it from others, None where nobody asks.
    :ivar reported: the visitors that the store need not be told of; None: it is told each time.
    :ivar limits: under which it counts.
    :ivar visitor_window: within how many seconds its visitor counts once; 0: each time.
    :ivar rate: how often its client may count; None: as often as it likes.
    :ivar batch: the batch that it goes with, once it does.
    :ivar call: the script's call that counts it, once it was sent.
    :ivar is_leader: whether it is up to this hit's driver to carry that batch.
    :ivar value: what it brought the counter to, once that is known.
    :ivar error: why it did not, otherwise.
    :ivar replayed: whether another hit with its token had counted.
    :ivar counted: whether it counted, once there is a value; not where its visitor had.
    :ivar waiter: for the driver, to wake who waits for it.
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
        """Whether it has no outcome yet."""
        return self.value is None and self.error is None

    def result(self) -> int:
        """Return its value, or raise why there is none."""
        if self.error is not None:
            raise _copy_error(
                self.error if self.idempotency_key is None else _as_retried(self.error)
            )
        if self.value is None:
            raise OutcomeUnknownError("the hit was given up")
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
    """Return a hit that may be sent; raises what :meth:`RedisCounter.hit` does before sending."""
    return PendingHit(
        key,
        check_integer(amount, 1),
        None if idempotency_key is None else check_idempotency_key(idempotency_key),
        visitor=None if visitor is None else hash_visitor(visitor),
        client=None if client is None else hash_visitor(client),
        limits=limits,
        # Where a visitor counts once in a while, the store has to hear of each hit.
        reported=visitors.for_counter(key)
        if visitor is not None and limits.visitor_window is None
        else None,
    )


def _as_retried(error: CounterError) -> CounterError:
    """Return what an error says of a hit that may have been sent before, under its token."""
    unsent = isinstance(error, StoreUnavailableError | StoreRejectedError)
    if not unsent or isinstance(error, DurabilityUnsupportedError):
        return error
    unknown = OutcomeUnknownError(
        f"this attempt did not count, and whether one before it did, the store knows: {error}"
    )
    unknown.__cause__ = error
    return unknown


def _copy_error(error: CounterError) -> CounterError:
    """Return an error of one's own: several threads must not raise the same object."""
    own = type(error).__new__(type(error))
    own.args = error.args
    own.__dict__.update(error.__dict__)
    own.__cause__ = error.__cause__
    return own
