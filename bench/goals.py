"""The goals, and whether they are met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from .contestants import CONSTANTS, DEMO, FASTAPI, OURS, STARLETTE, WEBDIS
from .inprocess import InProcess
from .race import Results


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal and its measurement.

    :ivar text: the measured quantity.
    :ivar bound: minimum or maximum of the measure.
    :ivar at_least: whether the bound is a minimum.
    :ivar samples: one value per round; their median is the measure.
    """

    text: str
    bound: float
    at_least: bool
    samples: Sequence[float]

    @property
    def measure(self) -> float:
        """The median of the samples."""
        return median(self.samples)

    @property
    def met(self) -> bool:
        """Whether the measure is within the bound."""
        return self.measure >= self.bound if self.at_least else self.measure <= self.bound

    @property
    def limit(self) -> str:
        """The bound as text."""
        return f"{'>=' if self.at_least else '<='} {self.bound:g}"


def goals(
    results: Results,
    library: InProcess,
    startups: Sequence[float],
    memory: Sequence[dict[str, float]],
) -> list[Goal]:
    """Return the goals with their measurements.

    Without webdis the goals that compare with it are left out.

    :param startups: seconds from the start of the service to its first response.
    :param memory: memory of each worker after the race, from `Server.worker_memory`.
    """
    best = results.best(CONSTANTS)
    incr = [used for name in (DEMO, FASTAPI, STARLETTE) for used in results.store_cpu[name.name]]
    cpu = [used / median(incr) for used in results.store_cpu[OURS.name]]
    judged = []
    if WEBDIS.name in results.loads:
        judged = [
            Goal("ours / webdis", 0.9, True, results.ratio(OURS, WEBDIS)),
            Goal("p99, ours / webdis", 1, False, results.latency_ratio(OURS, WEBDIS)),
        ]
    return [
        *judged,
        Goal("ours / best constant Flask view", 4, True, results.ratio(OURS, best)),
        Goal("ours / demo, gunicorn, 2 sync workers", 18, True, results.ratio(OURS, DEMO)),
        Goal("ours / FastAPI", 7, True, results.ratio(OURS, FASTAPI)),
        Goal("store's CPU a hit, ours / INCR's", 1, False, cpu),
        Goal("hit() / incr(), 16 threads", 4, True, library.ratios(16)),
        Goal("hit() / incr(), 1 thread", 0.8, True, library.ratios(1)),
        Goal("single hit's p50 / without batcher", 1.1, False, library.latency_ratios()),
        Goal("start to first answer, s", 0.5, False, startups),
        Goal("largest worker's RSS, MB", 50, False, [max(worker["rss"] for worker in memory)]),
    ]
