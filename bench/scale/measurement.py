"""Measures the service on clusters of different sizes, with equal workers and clients."""

from __future__ import annotations

import re
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from flask_redis_counter import RedisCounter
from flask_redis_counter.testing import ClusterGroup

from ..contestants import OURS
from ..load import Request, put_load
from ..load_check import SETTLE_PAUSE, SETTLE_TIMEOUT, MiscountError, check_count
from ..server import Server, own_environment
from .cpu_limit import CPULimit
from .sample import Sample, Setup

_BATCHES = re.compile(r"^counter_batch_hits_count(?:\{.*\})? (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Usage:
    """Totals since the start."""

    batches: int
    calls: int
    worker_cpu: float
    store_cpu: tuple[float, ...]
    client_cpu: float


class Cluster:
    """A cluster without replicas, with the service in front of it.

    :ivar can_limit: whether the masters' CPU time can be limited.
    """

    def __init__(self, masters: int, stack: ExitStack) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-cluster-")))
        options = ["--appendfsync", "everysec"]
        self._group = stack.enter_context(
            ClusterGroup(folder, masters=masters, replicas=0, options=options)
        )
        # A limited master may let hits wait for longer than the default timeout.
        settings = {"REDIS_URL": self._group.url, "COUNTER_TIMEOUT": "5"}
        environment = own_environment(settings)
        self._server = stack.enter_context(Server(OURS, environment, folder))
        self._counter = stack.enter_context(RedisCounter(self._group.url, timeout=5))
        self._limits: list[CPULimit] = []
        self.can_limit = True
        try:
            for node in self._group.nodes:
                self._limits.append(stack.enter_context(CPULimit(node.pid)))
        except OSError:
            self.can_limit = False

    @property
    def masters(self) -> int:
        """Number of masters."""
        return len(self._group.nodes)

    def measure(self, setup: Setup, seconds: int) -> Sample:
        """Put load on the service, and check the sum of its counters.

        :raises MiscountError: the service returned errors, or lost or duplicated hits.
        """
        names = [f"bench-{number}" for number in range(1, setup.counters + 1)]
        for limit in self._limits:
            limit.set(setup.share)
        request = Request("/counters/bench-NUMBER/hits", numbers=setup.counters)
        before, usage = self._sum(names), self._usage()
        load = put_load(
            self._server.address, request, seconds=seconds, connections=setup.connections
        )
        spent = self._usage()
        for limit in self._limits:
            limit.set(None)
        if load.errors or load.requests == 0:
            raise MiscountError(f"{setup}: {load}")
        check_count(str(setup), load, self._sum(names) - before, setup.connections)
        return Sample(
            setup,
            load.seconds,
            load.requests,
            load.p99,
            spent.batches - usage.batches,
            spent.calls - usage.calls,
            spent.worker_cpu - usage.worker_cpu,
            tuple(a - b for a, b in zip(spent.store_cpu, usage.store_cpu, strict=True)),
            spent.client_cpu - usage.client_cpu,
        )

    def _sum(self, names: Sequence[str]) -> int:
        """Return the sum of the counters when the requests in flight have ended."""
        deadline = time.monotonic() + SETTLE_TIMEOUT
        value, last = self._read(names), -1
        while value != last:
            if time.monotonic() > deadline:
                raise MiscountError("the counters still rise without load")
            time.sleep(SETTLE_PAUSE)
            value, last = self._read(names), value
        return value

    def _read(self, names: Sequence[str]) -> int:
        return sum(value or 0 for value in self._counter.values(names).values())

    def _usage(self) -> _Usage:
        page = requests.get(f"{self._server.address}/metrics", timeout=10).text
        [batches] = _BATCHES.findall(page)
        calls, store_cpu = 0, []
        for node in self._group.nodes:
            facts = self._group.client(node).info("everything")
            calls += facts.get("cmdstat_evalsha", {}).get("calls", 0)
            store_cpu.append(facts["used_cpu_sys"] + facts["used_cpu_user"])
        clients = resource.getrusage(resource.RUSAGE_CHILDREN)
        return _Usage(
            int(float(batches)),
            calls,
            self._server.worker_cpu(),
            tuple(store_cpu),
            clients.ru_utime + clients.ru_stime,
        )


@contextmanager
def running_clusters(sizes: Sequence[int]) -> Iterator[list[Cluster]]:
    """Run a cluster of each size, all at once, so that they can be measured in turn."""
    with ExitStack() as stack:
        yield [Cluster(masters, stack) for masters in sizes]
