"""Measures every contestant in every round, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

import redis

from .contestants import Contestant
from .load import Load
from .load_check import checked_load
from .server import Server

#: Connections of wrk in the race; the goals are for this number.
CONNECTIONS = 64

#: Seconds of load before the first round, which are not measured.
WARM_UP = 1


@dataclass(slots=True)
class Results:
    """Results of all rounds.

    :ivar loads: by contestant: one load per round.
    :ivar store_cpu: by contestant: the store's CPU time per hit, in microseconds.
    """

    loads: dict[str, list[Load]] = field(default_factory=dict)
    store_cpu: dict[str, list[float]] = field(default_factory=dict)

    def rate(self, contestant: Contestant) -> float:
        """Return the median rate of a contestant."""
        return median(load.rate for load in self.loads[contestant.name])

    def best(self, contestants: Sequence[Contestant]) -> Contestant:
        """Return the contestant with the highest median rate."""
        return max(contestants, key=self.rate)

    def ratio(self, one: Contestant, other: Contestant) -> list[float]:
        """Return per round the ratio of two contestants' rates."""
        return [mine.rate / theirs.rate for mine, theirs in self._pairs(one, other)]

    def latency_ratio(self, one: Contestant, other: Contestant) -> list[float]:
        """Return per round the ratio of two contestants' 99th percentiles of the latency."""
        return [mine.p99 / theirs.p99 for mine, theirs in self._pairs(one, other)]

    def _pairs(self, one: Contestant, other: Contestant) -> Iterator[tuple[Load, Load]]:
        return zip(self.loads[one.name], self.loads[other.name], strict=True)


def run_race(
    servers: Sequence[Server], store: redis.Redis, *, rounds: int, seconds: int
) -> Results:
    """Measure all contestants; their order rotates from round to round.

    :raises MiscountError: a contestant returned errors, or our service lost or duplicated hits.
    """
    results = Results()
    for server in servers:
        checked_load(server, store, seconds=WARM_UP, connections=CONNECTIONS)
    for turn in range(rounds):
        for server in rotate(servers, turn):
            name = server.contestant.name
            before = _cpu_seconds(store)
            load = checked_load(server, store, seconds=seconds, connections=CONNECTIONS)
            spent = _cpu_seconds(store) - before
            results.loads.setdefault(name, []).append(load)
            results.store_cpu.setdefault(name, []).append(spent / load.requests * 1e6)
            print(f"round {turn + 1}: {name}: {load.rate:,.0f}/s", flush=True)
    return results


def rotate(servers: Sequence[Server], turn: int) -> list[Server]:
    """Return the servers in the order of a round: each round starts with another one."""
    first = turn % len(servers)
    return [*servers[first:], *servers[:first]]


def _cpu_seconds(store: redis.Redis) -> float:
    used = store.info("cpu")
    return float(used["used_cpu_sys"] + used["used_cpu_user"])
