"""The terms under which a hit counts."""

from __future__ import annotations

from dataclasses import dataclass, field

from .validation import check_integer

#: More counters than there will be: a hit makes its own, however many there are.
UNLIMITED = 2**53 - 1


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How often a client may come: so many hits at once, and as many in each span of time.

    :ivar hits: 1 to 1,000,000.
    :ivar seconds: 1 to 86,400.
    :raises InvalidAmountError: one of them is out of bounds.
    """

    hits: int
    seconds: int

    def __post_init__(self) -> None:
        check_integer(self.hits, 1, 1_000_000)
        check_integer(self.seconds, 1, 86_400)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a hit is counted under; by default it always is.

    :ivar max_counters: make the counter only while there are fewer than so many; 0: never; None:
        always.
    :ivar visitor_window: seconds within which a visitor counts once, 1 to 86,400; None: each
        visit counts. A repeated idempotency key is the same hit, whatever the window.
    :ivar rate: how often a client may count, whatever the counter; None: as often as it likes.
    :ivar idempotency_memory: the percentage of the store's memory limit from which on a hit with a
        new token is refused, 1 to 100, so that the others still count; None: it never is.
    :raises InvalidAmountError: one of them is out of bounds.
    """

    max_counters: int | None = None
    visitor_window: int | None = None
    rate: RateLimit | None = None
    idempotency_memory: int | None = None
    #: How many counters there may be before another one is refused.
    limit: int = field(init=False, repr=False)
    #: Whether a hit may be left out because of others before it.
    screen: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        limit = UNLIMITED if self.max_counters is None else self.max_counters
        object.__setattr__(self, "limit", check_integer(limit, 0, UNLIMITED))
        if self.visitor_window is not None:
            check_integer(self.visitor_window, 1, 86_400)
        if self.idempotency_memory is not None:
            check_integer(self.idempotency_memory, 1, 100)
        object.__setattr__(self, "screen", self.visitor_window is not None or self.rate is not None)


#: A hit always counts.
NO_LIMITS = Limits()
