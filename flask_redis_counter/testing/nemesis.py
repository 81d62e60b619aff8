"""A nemesis: it does to a stack, one after the other, what goes wrong in the world."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from .faults import killed, partitioned, paused, stopped
from .stack import Stack

#: Seconds that a fault lasts at the most, besides what its commands take. The service waits half
#: a second for its store, so many faults are over before anybody has to be told.
LONGEST = 2.5


@contextmanager
def _replica_killed(stack: Stack) -> Iterator[None]:
    try:
        stack.kill("web", replica=0)
        yield
    finally:
        stack.start("web")


#: The kinds of faults: each makes the context manager in which its fault lasts.
FAULTS: dict[str, Callable[[Stack], AbstractContextManager[None]]] = {
    "redis killed": lambda stack: killed(stack, "redis"),
    "redis paused": lambda stack: paused(stack, "redis"),
    "redis restarted": lambda stack: stopped(stack, "redis"),
    "redis cut off": lambda stack: partitioned(stack, "redis"),
    "web killed": lambda stack: killed(stack, "web"),
    "a replica of web killed": _replica_killed,
}

#: Those that leave a replica, and the store, alone: maybe nobody notices.
LOCAL = frozenset({"a replica of web killed"})


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a plan.

    :ivar kind: a key of :data:`FAULTS`.
    :ivar lasts: seconds from when it is there to when it is healed, 0 to :data:`LONGEST`.
    :ivar calm: seconds of calm after it, 0 to what the plan allows.
    """

    kind: str
    lasts: float
    calm: float


def plan(seed: int, *, calm: float) -> Iterator[Fault]:
    """Make faults without end, the same for the same seed.

    Each kind comes once before one comes again.

    :param calm: seconds of calm after a fault, at the most.
    """
    dice = random.Random(seed)  # noqa: S311  # a plan that can be had again, no secret
    while True:
        kinds = list(FAULTS)
        dice.shuffle(kinds)
        for kind in kinds:
            yield Fault(kind, dice.uniform(0, LONGEST), dice.uniform(0, calm))
