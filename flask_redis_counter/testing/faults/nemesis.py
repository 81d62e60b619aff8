"""A nemesis: random faults, one after the other, in a background thread."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, Self, TypeAlias

#: Maximum duration of a fault in seconds, without the time that injecting and clearing it takes.
#: Short, so that a service with a timeout of half a second outlasts some faults by retries.
MAX_FAULT_SECONDS = 2.5

#: The faults that a nemesis chooses from, by name. Each factory returns a context manager.
FaultFactories: TypeAlias = Mapping[str, Callable[[], AbstractContextManager[None]]]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan: a fault, and the pause after it.

    :ivar kind: the name of the fault.
    :ivar duration: seconds between injecting and clearing it.
    :ivar pause: seconds until the next fault.
    """

    kind: str
    duration: float
    pause: float


class Nemesis:
    """Injects faults in a thread while its ``with`` block runs.

    An error in injecting or clearing a fault stops the nemesis, and is raised at the end of the
    block.

    :param kinds: the faults to choose from; each occurs once before one occurs again.
    :param seed: seed of the plan; the same seed gives the same plan.
    :param rate: average number of faults per minute, 1 to 600, without the time that injecting and
        clearing them takes.
    :ivar done: the steps whose faults were injected so far.
    """

    def __init__(self, kinds: FaultFactories, *, seed: int, rate: float = 20.0) -> None:
        if not kinds or not 1 <= rate <= 600:
            raise ValueError("a nemesis needs faults, and a rate from 1 to 600 a minute")
        self.kinds = kinds
        self.seed = seed
        self.rate = rate
        self.done: list[Step] = []
        self._stopped = threading.Event()
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None

    def plan(self) -> Iterator[Step]:
        """Return an endless iterator of steps, the same in each call."""
        period = 60 / self.rate  # average seconds of a fault and its pause together
        longest = min(MAX_FAULT_SECONDS, period)
        return plan(self.kinds, self.seed, max_duration=longest, max_pause=2 * period - longest)

    def __enter__(self) -> Self:
        self._stopped.clear()
        self._thread = threading.Thread(target=self._run, name="nemesis")
        self._thread.start()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            if error is None:
                raise self._error
            error.add_note(f"{self}")

    def __str__(self) -> str:
        return f"nemesis with seed {self.seed}, {len(self.done)} faults" + (
            f", stopped by {self._error!r}" if self._error else ""
        )

    def _run(self) -> None:
        try:
            for step in self.plan():
                with self.kinds[step.kind]():
                    self.done.append(step)
                    self._stopped.wait(step.duration)
                if self._stopped.wait(step.pause):
                    return
        except Exception as error:  # __exit__ raises it in the thread of the block
            self._error = error


class NemesisFactory(Protocol):
    """The fixture ``nemesis``: creates a nemesis for one test."""

    def __call__(self, kinds: FaultFactories, *, rate: float = 20.0) -> Nemesis:
        """Return a nemesis that is not started yet.

        :param kinds: the faults to choose from, by name.
        :param rate: average number of faults per minute.
        """


def plan(
    kinds: Mapping[str, object], seed: int, *, max_duration: float, max_pause: float
) -> Iterator[Step]:
    """Generate an endless sequence of steps, the same for the same seed.

    Each kind occurs once before one occurs again.

    :param max_duration: maximum duration of a fault, in seconds.
    :param max_pause: maximum pause after a fault, in seconds.
    """
    rng = random.Random(seed)  # noqa: S311  # a reproducible plan, no secret
    while True:
        order = list(kinds)
        rng.shuffle(order)
        for kind in order:
            yield Step(kind, rng.uniform(0, max_duration), rng.uniform(0, max_pause))
