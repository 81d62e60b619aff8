"""Chaos: clients count on a stack to which everything happens, and their history is checked.

Three crowds count at once. The one sends an ``Idempotency-Key`` and repeats a hit until it is
acknowledged, so its counter must hold exactly what it was told. Another sends none and never
repeats: there an answer that did not come stays unknown. On the third counter both kinds mix.
Each counter's days must hold what the counter does.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
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

#: Hits that each crowd must have acknowledged before the first fault, and after each.
WARMUP_HITS = 50

#: Seconds from which on a fault cannot pass unnoticed: the deadline, twice.
DETECTION_TIME = 1.0

#: Seconds that a stack may take to recover, and crowds to finish.
RECOVERY = 60.0


#: What befalls a stack in chaos.
FAULTS: dict[str, Callable[[Faults], FaultContext]] = {
    "redis killed": lambda faults: faults.killed("redis"),
    "redis paused": lambda faults: faults.paused("redis"),
    "redis restarted": lambda faults: faults.stopped("redis"),
    "redis cut off": lambda faults: faults.partitioned("redis"),
    "web killed": lambda faults: faults.killed("web"),
    "a replica of web killed": lambda faults: faults.killed("web", replica=0),
}

#: What leaves a replica, and the store, alone: maybe nobody notices.
LOCAL = frozenset({"a replica of web killed"})


@dataclass(frozen=True, slots=True)
class Report:
    """What a run of chaos did, and what the checker says of it.

    :ivar seed: what the plan of faults was made from.
    :ivar seconds: how long it took.
    :ivar faults: how many there were of each kind.
    :ivar verdicts: by counter, ``keyed``, ``unkeyed`` and ``mixed``.
    """

    seed: int
    seconds: float
    faults: Counter[str]
    verdicts: dict[str, CheckResult]

    def __str__(self) -> str:
        hits = sum(verdict.acknowledged for verdict in self.verdicts.values())
        return "\n".join(
            [
                f"seed {self.seed}: {hits:,} hits and {self.faults.total():,} faults "
                f"in {self.seconds:,.0f} s, {hits / self.seconds:,.0f} hits a second",
                *(f"{number:>7,} times {kind}" for kind, number in sorted(self.faults.items())),
                *(f"{counter}: {verdict}" for counter, verdict in self.verdicts.items()),
            ]
        )


def run_chaos(
    stack: Stack,
    *,
    seconds: float,
    seed: int,
    keyed: int = 4,
    unkeyed: int = 12,
    mixed: int = 4,
    calm: float = 4.0,
) -> Report:
    """Let clients count on a stack while a nemesis plagues it, and check what they were told.

    Logs the seed, each fault and the report. The same seed makes the same plan of faults.

    :param stack: a stack that is up, with at least two replicas of ``web`` behind an entry that
        stays; nobody else counts on its counters ``keyed``, ``unkeyed`` and ``mixed``.
    :param seconds: for how long faults begin, 0 to 86,400; each kind comes at least once.
    :param seed: what the plan of faults and the clients' dice are made from.
    :param keyed: how many clients with keys there are, 1 to 1,000. The store remembers each of
        their hits for a day, in some 220 bytes: the Compose stack's has room for 400,000.
    :param unkeyed: how many without, 1 to 1,000.
    :param mixed: how many of either kind, every other with keys, 2 to 1,000.
    :param calm: seconds of calm after a fault, at the most.
    :raises AssertionError: a hit was lost or doubled, a value was wrong, or an answer was none
        that the service may give. A note names the folder with all that happened.
    :raises WaitTimeoutError: nobody noticed a fault.
    :raises StackTimeoutError: the stack did not recover from one.
    :raises StackError: a fault could not be brought about, or not be healed.
    """
    _log.info("chaos on the %s stack, seed %d", stack.kind, seed)
    began = time.monotonic()
    url = stack.url()
    alone, both = keyed + unkeyed, range(keyed + unkeyed, keyed + unkeyed + mixed)
    crowds = [
        LoadGenerator(url, "keyed", range(keyed), keyed=range(keyed)),
        LoadGenerator(url, "unkeyed", range(keyed, alone), keyed=()),
        LoadGenerator(url, "mixed", both, keyed=both[::2]),
    ]
    before = [(_stored(url, crowd.counter), _recorded(url, crowd.counter)) for crowd in crowds]
    happened: list[tuple[float, Step]] = []
    faults = Faults(stack)
    with _counting(crowds, seed) as visitors:
        _wait_for_hits(crowds)
        for fault in plan(FAULTS, seed, longest=MAX_FAULT_SECONDS, calm=calm):
            if len(happened) >= len(FAULTS) and time.monotonic() > began + seconds:
                break
            happened.append((time.monotonic(), fault))
            _log.info("%d: %s for %.1f s", len(happened), fault.kind, fault.lasts)
            _inject(faults, fault, crowds, visitors)
    verdicts = {}
    for crowd, (start, recorded) in zip(crowds, before, strict=True):
        try:
            stored = _stored(url, crowd.counter)
            verdicts[crowd.counter] = check(crowd.history, before=start, after=stored)
            recorded = _recorded(url, crowd.counter) - recorded
            if recorded != stored - start:
                raise AssertionError(f"the days have {recorded} of {stored - start} hits")
        except AssertionError as error:
            error.add_note(f"seed {seed}; all that happened is in {_keep(crowds, happened)}")
            raise
    kinds = Counter(fault.kind for _, fault in happened)
    report = Report(seed, time.monotonic() - began, kinds, verdicts)
    _log.info("%s", report)
    return report


@contextmanager
def _counting(crowds: Sequence[LoadGenerator], seed: int) -> Iterator[list[Future[None]]]:
    """Have clients count inside, and let them finish at the end."""
    with ThreadPoolExecutor(sum(len(crowd.clients) for crowd in crowds)) as pool:
        visitors = [
            pool.submit(crowd.count, number, seed) for crowd in crowds for number in crowd.clients
        ]
        try:
            yield visitors
            for crowd in crowds:
                crowd.finish()
            late = wait(visitors, timeout=RECOVERY).not_done
        except WaitTimeoutError:
            _watch(visitors)  # it says more
            raise
        finally:
            for crowd in crowds:
                crowd.halt()
        _watch(visitors)
        if late:
            raise WaitTimeoutError("every hit with a key acknowledged", RECOVERY, len(late))


def _inject(
    faults: Faults,
    fault: Step,
    crowds: Sequence[LoadGenerator],
    visitors: Sequence[Future[None]],
) -> None:
    """Bring a fault about, heal it, wait until everybody counts again, and for the calm."""
    disappointed = _failed_attempts(crowds)
    with FAULTS[fault.kind](faults):
        _watch(visitors, fault.lasts)
        if fault.lasts > DETECTION_TIME and fault.kind not in LOCAL:
            wait_until(
                lambda: _failed_attempts(crowds) > disappointed, what=f"{fault.kind}: noticed"
            )
    faults.stack.wait_ready(within=RECOVERY)
    _wait_for_hits(crowds)
    _watch(visitors, fault.calm)


def _watch(visitors: Sequence[Future[None]], seconds: float = 0.0) -> None:
    """Let some seconds pass, unless a client ends before its time; raise what it raised."""
    for ended in wait(visitors, timeout=seconds, return_when=FIRST_EXCEPTION).done:
        ended.result()


def _failed_attempts(crowds: Sequence[LoadGenerator]) -> int:
    return sum(crowd.disappointed for crowd in crowds)


def _wait_for_hits(crowds: Sequence[LoadGenerator]) -> None:
    goals = [(crowd, crowd.acknowledged + WARMUP_HITS) for crowd in crowds]
    wait_until(
        lambda: all(crowd.acknowledged >= goal for crowd, goal in goals),
        what=f"{WARMUP_HITS} hits each",
        within=RECOVERY,
    )


def _stored(url: str, counter: str) -> int:
    answer = direct.get(f"{url}/counters/{counter}", timeout=REQUEST_TIMEOUT)
    if answer.status_code == 404:
        return 0
    answer.raise_for_status()
    return int(answer.json()["value"])


def _recorded(url: str, counter: str) -> int:
    """Return what the counter's days have together."""
    answer = direct.get(f"{url}/counters/{counter}/series", timeout=REQUEST_TIMEOUT)
    if answer.status_code == 404:
        return 0
    answer.raise_for_status()
    return sum(day["hits"] for day in answer.json()["series"])


def _keep(crowds: Sequence[LoadGenerator], happened: Sequence[tuple[float, Step]]) -> Path:
    """Write down all faults and operations, a line each, and return the folder."""
    folder = Path(tempfile.mkdtemp(prefix="counter-chaos-"))
    with (folder / "faults.jsonl").open("w") as lines:
        lines.writelines(json.dumps({"began": at, **asdict(one)}) + "\n" for at, one in happened)
    for crowd in crowds:
        with (folder / f"{crowd.counter}.jsonl").open("w") as lines:
            lines.writelines(json.dumps(asdict(operation)) + "\n" for operation in crowd.history)
    return folder
