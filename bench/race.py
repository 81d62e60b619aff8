"""Runs every contestant in every round, one at a time, and checks its count."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import redis

from .contestants import OURS, Contestant
from .load import Load, put_load
from .server import Server

#: Seconds of load before the first round, which are not measured.
WARM_UP = 1

#: Number of starts of this service, for measuring its startup time.
STARTS = 3

#: Seconds until the count must be stable after wrk has ended.
SETTLE_TIMEOUT = 10.0


class MiscountError(Exception):
    """The responses of a contestant do not agree with the count in the store."""


@dataclass(slots=True)
class Results:
    """Results of all rounds.

    :ivar loads: by contestant: one load per round.
    :ivar store_cpu: by contestant: the store's CPU time per hit, in microseconds.
    :ivar startups: seconds from the start of this service to its first response.
    :ivar memory: resident memory of this service's workers in MB after the load.
    """

    loads: dict[str, list[Load]] = field(default_factory=dict)
    store_cpu: dict[str, list[float]] = field(default_factory=dict)
    startups: list[float] = field(default_factory=list)
    memory: list[dict[str, float]] = field(default_factory=list)

    def ratio(self, one: Contestant, other: Contestant) -> list[float]:
        """Return per round the ratio of two contestants' rates."""
        pairs = zip(self.loads[one.name], self.loads[other.name], strict=True)
        return [mine.rate / theirs.rate for mine, theirs in pairs]


def run_race(
    contestants: Sequence[Contestant],
    store: redis.Redis,
    *,
    rounds: int,
    seconds: int,
    connections: int,
) -> Results:
    """Measure all contestants; their order rotates from round to round.

    :raises MiscountError: a contestant returned errors, or lost or duplicated hits.
    """
    names = [contestant.name for contestant in contestants]
    results = Results({name: [] for name in names}, {name: [] for name in names})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        environment = _environment(store)
        for _ in range(STARTS):
            with Server(OURS, environment, folder) as server:
                results.startups.append(server.startup)
        servers = [
            stack.enter_context(Server(contestant, environment, folder))
            for contestant in contestants
        ]
        for server in servers:
            put_load(server.url, seconds=WARM_UP, connections=connections)
        for turn in range(rounds):
            first = turn % len(servers)
            for server in servers[first:] + servers[:first]:
                before = _cpu_seconds(store)
                load = _checked_load(server, store, seconds, connections)
                spent = _cpu_seconds(store) - before
                results.loads[server.contestant.name].append(load)
                results.store_cpu[server.contestant.name].append(spent / load.requests * 1e6)
                print(f"round {turn + 1}: {server.contestant.name}: {load.rate:,.0f}/s", flush=True)
        for server in servers:
            if server.contestant is OURS:
                results.memory = server.worker_memory()
    return results


def _environment(store: redis.Redis) -> dict[str, str]:
    """Return the store's address, and empty values for related variables of this shell."""
    address = store.connection_pool.connection_kwargs
    unset = {
        name: ""
        for name in os.environ
        if name.startswith(("REDIS_", "COUNTER_", "FLASK_", "GUNICORN_"))
    }
    return unset | {"REDIS_HOST": address["host"], "REDIS_PORT": str(address["port"])}


def _checked_load(server: Server, store: redis.Redis, seconds: int, connections: int) -> Load:
    name, key = server.contestant.name, server.contestant.key
    before = _read_stable(store, key)
    load = put_load(server.url, seconds=seconds, connections=connections)
    rise = _read_stable(store, key) - before
    if load.requests == 0 or load.non_2xx or load.failed:
        raise MiscountError(f"{name}: {load}")
    # At its end wrk closes connections with one request each, which counts without a response.
    if key is not None and not 0 <= rise - load.requests <= connections:
        raise MiscountError(f"{name}: {load.requests} responses, but the store counted {rise} hits")
    return load


def _cpu_seconds(store: redis.Redis) -> float:
    used = store.info("cpu")
    return float(used["used_cpu_sys"] + used["used_cpu_user"])


def _read_stable(store: redis.Redis, key: str | None) -> int:
    """Return a count when the requests in flight have ended."""
    if key is None:
        return 0
    deadline = time.monotonic() + SETTLE_TIMEOUT
    value, last = int(store.get(key) or 0), -1
    while value != last:
        if time.monotonic() > deadline:
            raise MiscountError(f"{key} still rises without load")
        time.sleep(0.1)
        value, last = int(store.get(key) or 0), value
    return value
