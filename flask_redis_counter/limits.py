"""Limits under which a hit counts: number of counters, visitor window and rate limit."""

from __future__ import annotations

from dataclasses import dataclass, field

from .validation import check_integer

#: Limit that the number of counters never reaches: each hit may create its counter.
UNLIMITED = 2**53 - 1


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A rate limit of a client: up to ``hits`` at once, and ``hits`` per ``seconds``.

    :ivar hits: 1 to 1,000,000.
    :ivar seconds: 1 to 86,400.
    :raises InvalidAmountError: an attribute is out of bounds.
    """

    hits: int
    seconds: int

    def __post_init__(self) -> None:
        check_integer(self.hits, 1, 1_000_000)
        check_integer(self.seconds, 1, 86_400)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for a hit; by default there are none.

    .. code-block:: python

        limits = Limits(visitor_window=1800, rate=RateLimit(hits=100, seconds=60))
        counter.hit("orders", visitor="203.0.113.7 Firefox", client="203.0.113.7", limits=limits)

    :ivar max_counters: a hit creates its counter only if there are fewer counters than this; 0:
        never; None: always.
    :ivar visitor_window: seconds within which a visitor counts once, 1 to 86,400; None: each
        hit counts. A repeated idempotency key is the same hit, whatever the window.
    :ivar rate: rate limit per client, over all counters; None: no limit.
    :ivar idempotency_memory: percentage of the store's memory limit, 1 to 100, from which hits with
        a new idempotency key are rejected, so that other hits still count; None: never.
    :raises InvalidAmountError: an attribute is out of bounds.
    """

    max_counters: int | None = None
    visitor_window: int | None = None
    rate: RateLimit | None = None
    idempotency_memory: int | None = None
    #: Argument of the scripts for :attr:`max_counters`: :data:`UNLIMITED` for None.
    counter_limit: int = field(init=False, repr=False)
    #: Whether the script must look at the visitor or the client before it counts the hit.
    needs_screening: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        limit = UNLIMITED if self.max_counters is None else self.max_counters
        object.__setattr__(self, "counter_limit", check_integer(limit, 0, UNLIMITED))
        if self.visitor_window is not None:
            check_integer(self.visitor_window, 1, 86_400)
        if self.idempotency_memory is not None:
            check_integer(self.idempotency_memory, 1, 100)
        needs_screening = self.visitor_window is not None or self.rate is not None
        object.__setattr__(self, "needs_screening", needs_screening)


#: No limits: a hit always counts.
NO_LIMITS = Limits()
