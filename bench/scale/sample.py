"""One measurement of a cluster under load."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Setup:
    """What is measured or simulated.

    :ivar masters: number of masters; they share the counters.
    :ivar counters: number of counters that are hit, at random.
    :ivar connections: number of clients, each of which waits for its last answer.
    :ivar share: share of a core that each master gets; None: a whole one.
    :ivar workers: number of worker processes of the service.
    """

    masters: int
    counters: int
    connections: int
    share: float | None = None
    workers: int = 2


@dataclass(frozen=True, slots=True)
class Sample:
    """Result of one run.

    :ivar seconds: duration.
    :ivar hits: hits that were answered.
    :ivar p99: 99th percentile of the latency in milliseconds.
    :ivar batches: round trips from the workers to the masters.
    :ivar calls: calls of the script: one for each counter of a batch.
    :ivar worker_cpu: CPU seconds of all workers.
    :ivar store_cpu: CPU seconds of each master.
    :ivar client_cpu: CPU seconds of the clients.
    """

    setup: Setup
    seconds: float
    hits: int
    p99: float
    batches: int
    calls: int
    worker_cpu: float
    store_cpu: tuple[float, ...]
    client_cpu: float

    @property
    def rate(self) -> float:
        """Hits a second."""
        return self.hits / self.seconds
