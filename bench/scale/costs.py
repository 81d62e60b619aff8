"""CPU time that hits, round trips and calls take, fitted to measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .sample import Sample


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU times in seconds.

    :ivar hit: of a worker, for each hit.
    :ivar batch: of a worker, for each round trip.
    :ivar call: of a worker, for each call of the script: one for each counter of a round trip.
    :ivar store_batch: of a master, for each round trip.
    :ivar store_call: of a master, for each call.
    :ivar idle: share of a core that a master takes without any hits.
    :ivar client: of the clients, for each hit.
    """

    hit: float
    batch: float
    call: float
    store_batch: float
    store_call: float
    idle: float
    client: float


def fit(samples: Sequence[Sample]) -> Costs:
    """Return the costs that agree best with the CPU times of the samples.

    Least squares of the relative deviations. The samples must differ in their hits for each round
    trip and in their calls for each round trip.
    """
    hits = np.array([it.hits for it in samples], dtype=float)
    batches = np.array([it.batches for it in samples], dtype=float)
    calls = np.array([it.calls for it in samples], dtype=float)
    workers = np.array([it.worker_cpu for it in samples])
    stores = np.array([sum(it.store_cpu) for it in samples])
    hit, batch, call = _solve([hits, batches, calls], workers)
    master_seconds = np.array([it.seconds * it.setup.masters for it in samples])
    store_batch, store_call, idle = _solve([batches, calls, master_seconds], stores)
    client = sum(it.client_cpu for it in samples) / hits.sum()
    return Costs(hit, batch, call, store_batch, store_call, idle, float(client))


def deviations(samples: Sequence[Sample], costs: Costs) -> tuple[list[float], list[float]]:
    """Return the CPU times by the costs as ratios to the measured ones: of workers, of masters."""
    workers = [
        (it.hits * costs.hit + it.batches * costs.batch + it.calls * costs.call) / it.worker_cpu
        for it in samples
    ]
    masters = [
        (
            it.batches * costs.store_batch
            + it.calls * costs.store_call
            + it.seconds * it.setup.masters * costs.idle
        )
        / sum(it.store_cpu)
        for it in samples
    ]
    return workers, masters


def _solve(counts: Sequence[np.ndarray], seconds: np.ndarray) -> list[float]:
    rows = np.stack(counts, axis=1) / seconds[:, None]
    solution, *_ = np.linalg.lstsq(rows, np.ones(len(seconds)), rcond=None)
    return [max(0.0, float(value)) for value in solution]
