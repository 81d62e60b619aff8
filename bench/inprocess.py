"""Benchmark of the library: hits from threads, compared with redis-py's ``incr``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import redis

from flask_redis_counter import RedisCounter
from flask_redis_counter.counting.call import ScriptCall
from flask_redis_counter.series import current_hour
from flask_redis_counter.store.pool import ConnectionPool
from flask_redis_counter.store.scripts import HIT

#: Duration of each measurement, in seconds.
SECONDS = 2.0

THREADS = (1, 16)


@dataclass(slots=True)
class InProcess:
    """Results, one per round.

    :ivar rates: by number of threads: hits a second of this library and of redis-py.
    :ivar p50: median latency of single hits in seconds, with the batcher and without.
    """

    rates: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    p50: list[tuple[float, float]] = field(default_factory=list)

    def ratios(self, threads: int) -> list[float]:
        """Return per round the ratio of this library's rate to redis-py's."""
        return [ours / theirs for ours, theirs in self.rates[threads]]

    def latency_ratios(self) -> list[float]:
        """Return per round the ratio of a single hit's latency with the batcher to without."""
        return [with_it / without for with_it, without in self.p50]


def measure(client: redis.Redis, *, rounds: int) -> InProcess:
    """Measure both libraries, alternately."""
    address = client.connection_pool.connection_kwargs
    url = f"redis://{address['host']}:{address['port']}/0"
    found = InProcess({threads: [] for threads in THREADS})
    plain = redis.Redis(host=address["host"], port=address["port"])
    with RedisCounter(url) as counter, plain:

        def ours() -> object:
            return counter.hit("inprocess")

        def theirs() -> object:
            return plain.incr("plain")

        bare = _without_batcher(url)
        for warm in (ours, theirs, bare):
            _rate(warm, 1, SECONDS / 4)
        for _ in range(rounds):
            for threads in THREADS:
                pair = _rate(ours, threads, SECONDS), _rate(theirs, threads, SECONDS)
                found.rates[threads].append(pair)
            found.p50.append(_latencies(ours, bare))
    return found


def _without_batcher(url: str) -> Callable[[], object]:
    """Return a function that sends the same script on the same connections, without batcher."""
    store = ConnectionPool(url, timeout=0.5)
    store.execute([HIT.load()])
    number = iter(range(1, 10**9))
    example: Sequence[Any] = ScriptCall(
        "counter:{bare}", 1, "bench", 0, None, current_hour()
    ).command()
    _, _, count, *rest = example
    keys, (_, *described) = rest[:count], rest[count:]

    def hit() -> object:
        return int(store.execute([HIT.evalsha(keys, next(number), *described)])[0])

    return hit


def _rate(work: Callable[[], object], threads: int, seconds: float) -> float:
    done = [0] * threads
    began = time.perf_counter()

    def run(index: int) -> None:
        count = 0
        while time.perf_counter() - began < seconds:
            work()
            count += 1
        done[index] = count

    running = [threading.Thread(target=run, args=(index,)) for index in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(done) / (time.perf_counter() - began)


def _latencies(*works: Callable[[], object], count: int = 2000) -> tuple[float, float]:
    """Return the median latency of two functions, called alternately."""
    taken: Sequence[list[float]] = ([], [])
    for _ in range(count):
        for work, times in zip(works, taken, strict=True):
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
    return median(taken[0]), median(taken[1])
