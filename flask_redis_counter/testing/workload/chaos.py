"""Chaos test: clients count on a stack under random faults, and their history is checked.

Three load generators run at once, each on another counter. The clients of ``keyed`` send an
``Idempotency-Key`` and repeat a hit until it is acknowledged, so the counter must match the
responses exactly. The clients of ``unkeyed`` send no key and never repeat a hit, so a missing
response leaves an unknown outcome. The counter ``mixed`` has both kinds of clients. For each
counter the sum of its days must equal its value.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import direct
from ..faults.faults import FaultContext, Faults
from ..faults.nemesis import MAX_FAULT_SECONDS, Step, plan
from ..stacks.stack import Stack
from ..waiting import WaitTimeoutError, wait_until
from .checker import CheckResult, check
from .load import REQUEST_TIMEOUT, LoadGenerator

_log = logging.getLogger(__name__)

#: Hits that each generator must have acknowledged before the first fault, and after each fault.
WARMUP_HITS = 50

#: A fault that lasts longer than this many seconds must make attempts fail: twice the timeout.
DETECTION_TIME = 1.0

#: Seconds that a stack may take to recover, and the clients to finish.
RECOVERY_TIMEOUT = 60.0

#: Seconds between two reads of a final value: it is settled if they are equal.
SETTLING_TIME = 1.0

#: The faults of a chaos test.
FAULTS: dict[str, Callable[[Faults], FaultContext]] = {
    "redis killed": lambda faults: faults.killed("redis"),
    "redis paused": lambda faults: faults.paused("redis"),
    "redis restarted": lambda faults: faults.stopped("redis"),
    "redis cut off": lambda faults: faults.partitioned("redis"),
    "web killed": lambda faults: faults.killed("web"),
    "a replica of web killed": lambda faults: faults.killed("web", replica=0),
}

#: Faults that leave a replica and the store running, so that possibly no attempt fails.
UNDETECTABLE = frozenset({"a replica of web killed"})


@dataclass(frozen=True, slots=True)
class Report:
    """Faults of a chaos test, and the checker's results.

    :ivar seed: seed of the plan of faults.
    :ivar seconds: duration of the test.
    :ivar faults: number of faults of each kind.
    :ivar results: by counter: ``keyed``, ``unkeyed`` and ``mixed``.
    """

    seed: int
    seconds: float
    faults: Counter[str]
    results: dict[str, CheckResult]

    def __str__(self) -> str:
        hits = sum(result.acknowledged for result in self.results.values())
        return "\n".join(
            [
                f"seed {self.seed}: {hits:,} hits and {self.faults.total():,} faults "
                f"in {self.seconds:,.0f} s, {hits / self.seconds:,.0f} hits a second",
                *(f"{number:>7,} times {kind}" for kind, number in sorted(self.faults.items())),
                *(f"{counter}: {result}" for counter, result in self.results.items()),
            ]
        )


def run_chaos(
    stack: Stack,
    *,
    seconds: float,
    seed: int,
    keyed_clients: int = 4,
    unkeyed_clients: int = 12,
    mixed_clients: int = 4,
    max_pause: float = 4.0,
    faults: Mapping[str, Callable[[Faults], FaultContext]] = FAULTS,
    undetectable: Container[str] = UNDETECTABLE,
    allows_failovers: bool = False,
) -> Report:
    """Let clients count on a stack under random faults, and check their history.

    Logs the seed, each fault and the report. The same seed gives the same plan of faults.

    :param stack: a stack that is up, with at least two replicas of ``web`` behind an endpoint
        whose address stays. No other client may use its counters ``keyed``, ``unkeyed`` and
        ``mixed``.
    :param seconds: faults start for this long, 0 to 86,400; each kind occurs at least once.
    :param seed: seed of the plan of faults, and of the clients' random numbers.
    :param keyed_clients: number of clients with idempotency keys, 1 to 1,000. The store keeps
        each of their hits for a day, in some 220 bytes: that of the Compose stack has room for
        400,000.
    :param unkeyed_clients: number of clients without keys, 1 to 1,000.
    :param mixed_clients: number of clients of the third counter, 2 to 1,000; every other one
        sends keys.
    :param max_pause: maximum pause after a fault, in seconds.
    :param faults: the kinds of faults, by name; each is called when it is its turn.
    :param undetectable: those of them during which possibly no attempt fails.
    :param allows_failovers: check only that the sums are exact, within :data:`RECOVERY_TIMEOUT`
        after the last hit: values may repeat after a failover.
    :raises AssertionError: a hit was lost or duplicated, a value was wrong, or the service gave a
        response that its API does not allow. A note names the folder with the complete history.
    :raises WaitTimeoutError: no attempt failed during a fault.
    :raises StackTimeoutError: the stack did not recover from a fault.
    :raises StackError: a fault could not be injected or cleared.
    """
    _log.info("chaos on the %s stack, seed %d", stack.kind, seed)
    began = time.monotonic()
    url = stack.url()
    keyed, both = range(keyed_clients), keyed_clients + unkeyed_clients
    unkeyed, mixed = range(keyed_clients, both), range(both, both + mixed_clients)
    generators = [
        LoadGenerator(url, "keyed", keyed, with_idempotency_key=keyed),
        LoadGenerator(url, "unkeyed", unkeyed, with_idempotency_key=()),
        LoadGenerator(url, "mixed", mixed, with_idempotency_key=mixed[::2]),
    ]
    before = [(_read_value(url, one.counter), _sum_days(url, one.counter)) for one in generators]
    injected: list[tuple[float, Step]] = []
    stack_faults = Faults(stack)
    with _run_clients(generators, seed) as clients:
        _wait_for_hits(generators)
        for step in plan(faults, seed, max_duration=MAX_FAULT_SECONDS, max_pause=max_pause):
            if len(injected) >= len(faults) and time.monotonic() > began + seconds:
                break
            injected.append((time.monotonic(), step))
            _log.info("%d: %s for %.1f s", len(injected), step.kind, step.duration)
            must_fail = step.duration > DETECTION_TIME and step.kind not in undetectable
            fault = faults[step.kind](stack_faults)
            _inject(stack, step, fault, generators, clients, must_fail=must_fail)
    results = {}
    for generator, (value_before, days_before) in zip(generators, before, strict=True):
        try:
            if allows_failovers:
                value = _wait_for_sum(url, generator, value_before)
            else:
                value = _read_value(url, generator.counter)
            results[generator.counter] = check(
                generator.history,
                before=value_before,
                after=value,
                allows_failovers=allows_failovers,
            )
            in_days = _sum_days(url, generator.counter) - days_before
            if in_days != value - value_before:
                raise AssertionError(f"the days have {in_days} of {value - value_before} hits")
        except AssertionError as error:
            folder = _write_history(generators, injected)
            error.add_note(f"seed {seed}; the complete history is in {folder}")
            raise
    kinds = Counter(step.kind for _, step in injected)
    report = Report(seed, time.monotonic() - began, kinds, results)
    _log.info("%s", report)
    return report


@contextmanager
def _run_clients(generators: Sequence[LoadGenerator], seed: int) -> Iterator[list[Future[None]]]:
    """Run the clients during the block, and let them finish at its end."""
    with ThreadPoolExecutor(sum(len(generator.clients) for generator in generators)) as pool:
        clients = [
            pool.submit(generator.run_client, client, seed)
            for generator in generators
            for client in generator.clients
        ]
        try:
            yield clients
            for generator in generators:
                generator.finish()
            unfinished = wait(clients, timeout=RECOVERY_TIMEOUT).not_done
        except WaitTimeoutError:
            _check_clients(clients)  # the error of a client is more specific
            raise
        finally:
            for generator in generators:
                generator.stop()
        _check_clients(clients)
        if unfinished:
            raise WaitTimeoutError(
                "every hit with a key acknowledged", RECOVERY_TIMEOUT, len(unfinished)
            )


def _inject(
    stack: Stack,
    step: Step,
    fault: FaultContext,
    generators: Sequence[LoadGenerator],
    clients: Sequence[Future[None]],
    *,
    must_fail: bool,
) -> None:
    """Inject and clear a fault, wait until all generators count again, and pause."""
    failed_before = _failed_attempts(generators)
    with fault:
        _check_clients(clients, step.duration)
        if must_fail:
            wait_until(
                lambda: _failed_attempts(generators) > failed_before,
                what=f"a failed attempt during {step.kind}",
            )
    stack.wait_ready(timeout=RECOVERY_TIMEOUT)
    _wait_for_hits(generators)
    _check_clients(clients, step.pause)


def _check_clients(clients: Sequence[Future[None]], seconds: float = 0.0) -> None:
    """Wait for some seconds, or until a client fails; raise its error."""
    for ended in wait(clients, timeout=seconds, return_when=FIRST_EXCEPTION).done:
        ended.result()


def _failed_attempts(generators: Sequence[LoadGenerator]) -> int:
    return sum(generator.failed_attempts for generator in generators)


def _wait_for_hits(generators: Sequence[LoadGenerator]) -> None:
    goals = [(one, one.acknowledged_attempts + WARMUP_HITS) for one in generators]
    wait_until(
        lambda: all(one.acknowledged_attempts >= goal for one, goal in goals),
        what=f"{WARMUP_HITS} hits of each generator",
        timeout=RECOVERY_TIMEOUT,
    )


def _wait_for_sum(url: str, generator: LoadGenerator, before: int) -> int:
    """Return the counter's value; wait a while for acknowledged hits that are sent again."""
    values: list[int] = []

    def is_settled() -> bool:
        values.append(_read_value(url, generator.counter))
        check(generator.history, before=before, after=values[-1], allows_failovers=True)
        return values[-1:] == values[-2:-1]

    with suppress(WaitTimeoutError):  # the caller reports what is missing
        wait_until(
            is_settled,
            what="all acknowledged hits",
            timeout=RECOVERY_TIMEOUT,
            pause=SETTLING_TIME,
        )
    return _read_value(url, generator.counter)


def _read_value(url: str, counter: str) -> int:
    response = direct.get(f"{url}/counters/{counter}", timeout=REQUEST_TIMEOUT)
    if response.status_code == 404:
        return 0
    response.raise_for_status()
    return int(response.json()["value"])


def _sum_days(url: str, counter: str) -> int:
    """Return the sum of the hits in the counter's days."""
    response = direct.get(f"{url}/counters/{counter}/series", timeout=REQUEST_TIMEOUT)
    if response.status_code == 404:
        return 0
    response.raise_for_status()
    return sum(day["hits"] for day in response.json()["series"])


def _write_history(
    generators: Sequence[LoadGenerator], injected: Sequence[tuple[float, Step]]
) -> Path:
    """Write all faults and operations, one per line, and return the folder."""
    folder = Path(tempfile.mkdtemp(prefix="counter-chaos-"))
    with (folder / "faults.jsonl").open("w") as lines:
        lines.writelines(json.dumps({"began": at, **asdict(step)}) + "\n" for at, step in injected)
    for generator in generators:
        with (folder / f"{generator.counter}.jsonl").open("w") as lines:
            lines.writelines(json.dumps(asdict(each)) + "\n" for each in generator.history)
    return folder
