"""``python -m bench.failovers``: count hits that are lost and doubled in failovers.

A master with two replicas and three Sentinels runs as processes. Threads count on it while one
failover follows the other, each with a cause that a seed decides: a command, a SIGKILL of the
master, or a master that freezes and comes back. Afterwards the stored values are compared with the
outcomes of all hits. Half of the hits of this library have an idempotency key, and are repeated
until their outcome is known: their counter must hold exactly the acknowledged hits.
"""

from __future__ import annotations

import argparse
import random
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import redis
from redis.sentinel import Sentinel

from flask_redis_counter import CounterError, Journal, Outcome, RedisCounter
from flask_redis_counter.testing import SentinelGroup, WaitTimeoutError, wait_until
from flask_redis_counter.testing.stacks.sentinel_group import SERVICE

#: Threads that count on each counter.
THREADS = 2

#: Seconds that a hit may take.
TIMEOUT = 0.5

#: Hits that each failover has to wait for, so that it happens under load.
HITS_BETWEEN = 1000

CAUSES = ("command", "kill", "freeze")

#: The counters; hits on the second have idempotency keys.
UNKEYED, KEYED = "visits", "keyed"

#: Calls that the journal may keep: those of the longest failover.
JOURNAL_SIZE = 500_000

#: Seconds after which a hit with a key that is still not acknowledged is a failure.
REPEAT_TIME = 60

#: Seconds in which a Sentinel should make a former master a replica; a command does it then.
DEMOTION_TIMEOUT = 30

#: Seconds after a hit that failed.
RETRY_DELAY = 0.01


@dataclass
class Tally:
    """Outcomes of hits on one counter, each of which adds 1."""

    acknowledged: int = 0
    unknown: int = 0
    failed: int = 0
    repeated_values: int = 0


class Load:
    """Threads that count until they are stopped.

    :param hit: counts, and returns the new value or an outcome.
    """

    def __init__(self, hit: Callable[[], int | Outcome]) -> None:
        self.tally = Tally()
        self._hit = hit
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._values: set[int] = set()
        self._threads = [threading.Thread(target=self._count) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def wait_for(self, hits: int) -> None:
        """Wait until more hits are acknowledged."""
        wanted = self.tally.acknowledged + hits
        wait_until(lambda: self.tally.acknowledged >= wanted, timeout=60, what=f"{hits} hits")

    def stop(self) -> Tally:
        """Stop the threads, and return the outcomes."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        return self.tally

    def _count(self) -> None:
        while not self._stopping.is_set():
            outcome = self._hit()
            with self._lock:
                if outcome is Outcome.UNKNOWN:
                    self.tally.unknown += 1
                elif isinstance(outcome, Outcome):
                    self.tally.failed += 1
                else:
                    self.tally.acknowledged += 1
                    self.tally.repeated_values += outcome in self._values
                    self._values.add(outcome)


class JournalWatch:
    """Watches the length of a journal in a thread, while its block runs.

    :ivar entries: the largest number of its entries so far.
    """

    def __init__(self, journal: Journal) -> None:
        self.entries = 0
        self._journal = journal
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            self.entries = max(self.entries, len(self._journal))


def count_with(counter: RedisCounter, name: str) -> Callable[[], int | Outcome]:
    """Return a function that counts with this library; on the counter ``keyed`` with keys."""

    def hit() -> int | Outcome:
        key = secrets.token_hex(8) if name == KEYED else None
        deadline = time.monotonic() + REPEAT_TIME
        while True:
            try:
                return counter.hit(name, idempotency_key=key).value
            except CounterError as error:
                time.sleep(RETRY_DELAY)
                if key is None or time.monotonic() > deadline:
                    return error.outcome

    return hit


def count_with_redis_py(group: SentinelGroup) -> Callable[[], int | Outcome]:
    """Return a function that counts as redis-py's documentation does it, with its retries."""
    sentinels = [("127.0.0.1", sentinel.port) for sentinel in group.sentinels]
    manager: Any = Sentinel
    client = manager(sentinels, socket_timeout=TIMEOUT).master_for(SERVICE)

    def hit() -> int | Outcome:
        try:
            value: int = client.incr("counter:{visits}")
        except redis.RedisError:
            time.sleep(RETRY_DELAY)
            return Outcome.UNKNOWN  # it does not say whether the server executed the command
        return value

    return hit


def fail_over(group: SentinelGroup, cause: str, *, waits: bool) -> None:
    """Cause a failover, and wait until all servers follow the new master.

    :param waits: whether a former master that comes back takes writes for some ten seconds, until
        a Sentinel makes it a replica; otherwise a command does that at once.
    """
    old = group.named_master()
    if cause == "command":
        group.fail_over()
    elif cause == "kill":
        old.kill()
        group.wait_for_switch(old)
        old.start()
    else:
        old.signal(signal.SIGSTOP)
        group.wait_for_switch(old)
        old.signal(signal.SIGCONT)
    with suppress(WaitTimeoutError):  # Sentinels on a busy machine may take much longer
        wait_until(
            lambda: group.client(old).info("replication")["role"] == "slave",
            timeout=DEMOTION_TIMEOUT if waits else 0,
            what="a former master that follows",
        )
    group.client(old).replicaof("127.0.0.1", str(group.named_master().port))
    group.wait_for_replicas()


def measure(name: str, failovers: int, hits: int, seed: int, patience: float, place: Path) -> bool:
    """Run failovers under load, print what was lost, and return whether the sum is exact.

    :param patience: share of the failovers after which the former master keeps taking writes.
    """
    randomness = random.Random(seed)  # reproducible
    began = time.monotonic()
    with SentinelGroup(place) as group:
        journal = Journal(0 if name == "without journal" else JOURNAL_SIZE)
        with (
            closing(RedisCounter(group.url, timeout=TIMEOUT, journal=journal)) as counter,
            ExitStack() as stack,
        ):
            if name == "redis-py":
                loads = {UNKEYED: Load(count_with_redis_py(group))}
            else:
                loads = {one: Load(count_with(counter, one)) for one in (UNKEYED, KEYED)}
            for load in loads.values():
                stack.callback(load.stop)
            watch = stack.enter_context(JournalWatch(journal))
            done = 0
            while done < failovers or _acknowledged(loads) < hits:
                for load in loads.values():
                    load.wait_for(HITS_BETWEEN)
                if done < failovers:
                    waits = randomness.random() < patience
                    fail_over(group, randomness.choice(CAUSES), waits=waits)
                    done += 1
            tallies = {one: load.stop() for one, load in loads.items()}
            wait_until(lambda: not len(journal), timeout=30, what="an empty journal")
        client = group.client(group.named_master())
        stored = {one: int(client.get(f"counter:{{{one}}}") or 0) for one in tallies}
    took = time.monotonic() - began
    longest = f"up to {watch.entries:,} calls in the journal"
    print(f"{name}: {failovers} failovers in {took:.0f} s, {longest}")
    exact = [_report(one, tally, stored[one]) for one, tally in tallies.items()]
    return all(exact)


def _acknowledged(loads: dict[str, Load]) -> int:
    return sum(load.tally.acknowledged for load in loads.values())


def _report(name: str, tally: Tally, stored: int) -> bool:
    """Print what was lost on one counter, and return whether its sum is exact."""
    lost = max(0, tally.acknowledged - stored)
    doubled = max(0, stored - tally.acknowledged - tally.unknown)
    if name == KEYED and tally.unknown:
        lost += tally.unknown  # a hit with a key must be acknowledged in time
    print(
        f"  {name}: {tally.acknowledged:,} acknowledged, {tally.unknown:,} unknown, "
        f"{tally.failed:,} not counted, {stored:,} stored, {lost:,} lost, {doubled:,} doubled, "
        f"{tally.repeated_values:,} values repeated",
        flush=True,
    )
    return not lost and not doubled


def main() -> None:
    """Compare, or run long; the exit code is 1 if the journal did not keep the sum exact."""
    parser = argparse.ArgumentParser(prog="python -m bench.failovers", description=__doc__)
    parser.add_argument("--failovers", type=int, default=20, help="of each run (%(default)s)")
    parser.add_argument("--hits", type=int, default=0, help="acknowledged hits at least")
    parser.add_argument("--seed", type=int, default=1, help="decides the causes (%(default)s)")
    parser.add_argument(
        "--patience",
        type=float,
        default=1.0,
        help="share of the failovers after which the former master takes writes until a Sentinel "
        "makes it a replica (%(default)s); otherwise that happens at once",
    )
    parser.add_argument("--compare", action="store_true", help="with redis-py and no journal, too")
    options = parser.parse_args()
    names = ["redis-py", "without journal"] if options.compare else []
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in [*names, "with journal"]:
            place = Path(folder) / name.replace(" ", "-")
            place.mkdir()
            given = options.failovers, options.hits, options.seed, options.patience
            is_exact = measure(name, *given, place)
    sys.exit(0 if is_exact else 1)


if __name__ == "__main__":
    main()
