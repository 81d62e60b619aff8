"""Measures contestants with few and with many connections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import redis

from .load import Load
from .load_check import checked_load
from .race import rotate
from .server import Server

#: Numbers of connections, unless others are asked for.
CONNECTIONS = (1, 8, 64, 512, 2000)

#: By contestant, by number of connections: one load per round.
Sweep = dict[str, dict[int, list[Load]]]


@dataclass(frozen=True, slots=True)
class Point:
    """Medians of all rounds with one number of connections.

    :ivar connections: number of connections.
    :ivar rate: hits a second, without error responses.
    :ivar p99: 99th percentile of the latency in milliseconds; None without responses.
    :ivar errors: number of error responses and failed connections in all rounds.
    """

    connections: int
    rate: float
    p99: float | None
    errors: int


def run_sweep(
    servers: Sequence[Server],
    store: redis.Redis,
    *,
    connections: Sequence[int],
    rounds: int,
    seconds: int,
) -> Sweep:
    """Measure the contestants in turn with each number of connections.

    A contestant that returns errors or refuses connections remains in the results.

    :raises MiscountError: our service lost or duplicated hits.
    """
    sweep: Sweep = {
        server.contestant.name: {number: [] for number in connections} for server in servers
    }
    for turn in range(rounds):
        for number in connections:
            for server in rotate(servers, turn):
                name = server.contestant.name
                load = checked_load(
                    server, store, seconds=seconds, connections=number, allow_errors=True
                )
                sweep[name][number].append(load)
                shown = f"{load.rate:,.0f}/s, p99 {load.p99:.1f} ms, {load.errors} errors"
                print(f"{number} connections, round {turn + 1}: {name}: {shown}", flush=True)
    return sweep


def summarize(loads: dict[int, list[Load]]) -> list[Point]:
    """Return a contestant's medians, in the order of the numbers of connections."""
    return [
        Point(
            connections,
            median(load.rate for load in rounds),
            median(answered) if (answered := [load.p99 for load in rounds if load.rate]) else None,
            sum(load.errors for load in rounds),
        )
        for connections, rounds in sorted(loads.items())
    ]
