"""A nemesis: it does to a stack, one after the other, what goes wrong in the world."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, Self, TypeAlias

#: Seconds that a fault lasts at the most, besides what its commands take. A service that waits
#: half a second for its store has many faults behind it before anybody has to be told.
MAX_FAULT_SECONDS = 2.5

#: The faults that a nemesis chooses from: each makes the context manager in which it lasts.
FaultFactories: TypeAlias = Mapping[str, Callable[[], AbstractContextManager[None]]]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan: a fault, and the calm after it.

    :ivar kind: which of the faults that there are.
    :ivar lasts: seconds from when it is there to when it is healed.
    :ivar calm: seconds of calm after it.
    """

    kind: str
    lasts: float
    calm: float


class Nemesis:
    """Does faults in a thread, while its block runs.

    An error in bringing a fault about, or in healing it, ends it, and is raised at the end of the
    block.

    :param kinds: what there is to choose from; each comes once before one comes again.
    :param seed: the same makes the same plan.
    :param rate: how many faults there are in a minute, on the average, if they took no time to
        bring about and to heal; 1 to 600.
    :ivar done: the faults so far.
    """

    def __init__(self, kinds: FaultFactories, *, seed: int, rate: float = 20.0) -> None:
        if not kinds or not 1 <= rate <= 600:
            raise ValueError("a nemesis needs faults, and a rate from 1 to 600 a minute")
        self.kinds = kinds
        self.seed = seed
        self.rate = rate
        self.done: list[Step] = []
        self._over = threading.Event()
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None

    def plan(self) -> Iterator[Step]:
        """Make faults without end, the same each time."""
        each = 60 / self.rate  # seconds, of a fault and its calm together, on the average
        longest = min(MAX_FAULT_SECONDS, each)
        return plan(self.kinds, self.seed, longest=longest, calm=2 * each - longest)

    def __enter__(self) -> Self:
        self._over.clear()
        self._thread = threading.Thread(target=self._run, name="nemesis")
        self._thread.start()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            if error is None:
                raise self._error
            error.add_note(f"{self}")

    def __str__(self) -> str:
        return f"nemesis with seed {self.seed}, {len(self.done)} faults" + (
            f", ended by {self._error!r}" if self._error else ""
        )

    def _run(self) -> None:
        try:
            for fault in self.plan():
                with self.kinds[fault.kind]():
                    self.done.append(fault)
                    self._over.wait(fault.lasts)
                if self._over.wait(fault.calm):
                    return
        except Exception as error:  # raised in the thread that has the block
            self._error = error


class NemesisFactory(Protocol):
    """Makes a nemesis of this test's."""

    def __call__(self, kinds: FaultFactories, *, rate: float = 20.0) -> Nemesis:
        """Return it, not yet at work.

        :param kinds: the faults to choose from, by name.
        :param rate: how many faults there are in a minute.
        """


def plan(kinds: Mapping[str, object], seed: int, *, longest: float, calm: float) -> Iterator[Step]:
    """Make faults without end, the same for the same seed.

    Each kind comes once before one comes again.

    :param longest: seconds that a fault lasts, at the most.
    :param calm: seconds of calm after a fault, at the most.
    """
    dice = random.Random(seed)  # noqa: S311  # a plan that can be had again, no secret
    while True:
        order = list(kinds)
        dice.shuffle(order)
        for kind in order:
            yield Step(kind, dice.uniform(0, longest), dice.uniform(0, calm))
