"""The stack with Redis Sentinel: sums stay exact when the master changes."""

from contextlib import contextmanager
from functools import partial
from itertools import pairwise

import pytest

from flask_redis_counter.testing import ComposeStack, Tally, run_chaos, send_hit, wait_until

from .conftest import SENTINEL_FILES, replicated_stack
from .support import read_value, run_under_load

pytestmark = pytest.mark.compose

SERVERS = ("redis", "redis-2", "redis-3")
SENTINELS = ("sentinel-1", "sentinel-2", "sentinel-3")


class Group:
    """The servers and Sentinels of a stack, and the outcomes of all hits so far.

    :ivar stack: the stack.
    """

    def __init__(self, stack: ComposeStack) -> None:
        self.stack = stack
        self._total = Tally()

    def master(self) -> str:
        """Return the service that all running Sentinels name as the master.

        :raises AssertionError: they do not agree.
        """
        running = [sentinel for sentinel in SENTINELS if self._is_running(sentinel)]
        masters = {self._ask(sentinel, "get-master-addr-by-name")[0] for sentinel in running}
        assert len(masters) == 1, masters
        return masters.pop()

    def wait_until_complete(self) -> None:
        """Wait until one server is the master, and the Sentinels could replace it."""
        wait_until(self._is_complete, what="a master, its replicas and Sentinels in step")

    def wait_for_switch(self, old: str) -> None:
        """Wait until the Sentinels name another master."""
        wait_until(lambda: self.master() != old, what=f"another master than {old}")

    def fail_over(self, sentinel: str = "sentinel-1") -> None:
        """Switch the master by command."""
        old = self.master()
        self._ask(sentinel, "failover")
        self.wait_for_switch(old)

    def role(self, server: str) -> str:
        """Return a server's role: master or slave."""
        return self._replication(server)["role"]

    def check(self, tally: Tally) -> None:
        """Add a tally and check the counter against all hits so far.

        Hits that were lost are sent again, so the sum may be too low for a moment. Values can be
        returned twice: a former master may have returned one for a hit that was sent again.
        """
        self._total.add(tally)
        known, unknown = len(self._total.values), self._total.unknown
        value = wait_until(
            lambda: (value := read_value(self.stack)) >= known and value,
            what=f"{known} acknowledged hits (and {unknown} unknown ones)",
        )
        assert value <= known + unknown, "a hit was counted twice"

    def _is_complete(self) -> bool:
        master = self.master()
        info = self._replication(master)
        replicas = [info.get(f"slave{number}", "") for number in range(len(SERVERS) - 1)]
        assert info["role"] == "master", info
        assert all("state=online" in replica for replica in replicas), info
        for sentinel in SENTINELS:
            told = self._ask(sentinel, "master")
            state = dict(zip(told[::2], told[1::2], strict=True))
            assert state["flags"] == "master", state
            assert int(state["num-slaves"]) == len(SERVERS) - 1, state
            assert int(state["num-other-sentinels"]) == len(SENTINELS) - 1, state
            lines = self._ask(sentinel, "replicas")
            flags = [value for name, value in pairwise(lines) if name == "flags"]
            assert flags == ["slave"] * (len(SERVERS) - 1), flags
        return True

    def _is_running(self, service: str) -> bool:
        return all(one.status == "running" for one in self.stack.state(service))

    def _ask(self, sentinel: str, question: str) -> list[str]:
        command = ("redis-cli", "-e", "-p", "26379", "sentinel", question, "counters")
        return self.stack.exec(sentinel, *command).output.splitlines()

    def _replication(self, server: str) -> dict[str, str]:
        command = 'REDISCLI_AUTH="$REDIS_PASSWORD" redis-cli -e info replication'
        lines = self.stack.exec(server, "sh", "-c", command).output.splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)


@pytest.fixture(scope="module")
def sentinel_stack(pytestconfig, image):
    """A stack with Sentinels for all tests of the module."""
    with replicated_stack(pytestconfig, SENTINEL_FILES) as stack:
        yield stack


@pytest.fixture(scope="module")
def total(sentinel_stack):
    """The group of the stack, with the outcomes of the hits of all tests."""
    return Group(sentinel_stack)


@pytest.fixture
def shared_stack(sentinel_stack):
    """Use the stack with Sentinels for `stack` and `faults`."""
    return sentinel_stack


@pytest.fixture
def group(stack, total):
    """The group, complete."""
    total.wait_until_complete()
    return total


def test_new_stack_counts_on_first_master(group):
    """`redis` is the first master; hits count from 1."""
    assert group.master() == "redis"
    tally = Tally()
    for _ in range(3):
        tally.add(send_hit(group.stack.url()))
    assert tally.values == [1, 2, 3]
    group.check(tally)


def test_planned_failover_under_load(stack, group):
    """It loses no hit, counts none twice, and fails none."""
    tally = run_under_load(stack, group.fail_over)
    assert tally.not_counted + tally.unknown == 0
    group.check(tally)


def test_sigkill_of_master_under_load(stack, group):
    """Hits count on another server; the killed one comes back as its replica."""
    old = group.master()

    def kill_master():
        stack.kill(old)
        group.wait_for_switch(old)

    tally = run_under_load(stack, kill_master)
    stack.start(old)
    assert group.role(old) == "slave"
    group.wait_until_complete()
    group.check(tally)


def test_sigkill_of_sentinel_under_load(stack, group, faults):
    """Two Sentinels are enough, also to switch the master; no hit fails."""
    with faults.killed("sentinel-1"):
        tally = run_under_load(stack, lambda: group.fail_over("sentinel-2"))
    assert tally.not_counted + tally.unknown == 0
    group.check(tally)


def test_paused_master_comes_back_under_load(stack, group, faults):
    """A frozen master is replaced; when it resumes, it takes no hits that are lost later."""
    old = group.master()

    def pause_master():
        with faults.paused(old):
            group.wait_for_switch(old)
        wait_until(lambda: group.role(old) == "slave", what=f"{old} as a replica")

    group.check(run_under_load(stack, pause_master))
    group.wait_until_complete()


def test_chaos(stack, group, pytestconfig):
    """Acknowledged hits count exactly once while masters, replicas and Sentinels fail."""
    minutes, seed, max_pause = map(
        pytestconfig.getoption, ("--minutes", "--nemesis-seed", "--max-pause")
    )
    report = run_chaos(
        stack,
        seconds=60 * minutes,
        seed=seed,
        max_pause=max_pause,
        faults={name: partial(_make_fault, group, name) for name in FAULTS},
        undetectable=UNNOTICED,
        allows_failovers=True,
    )
    assert report.faults.keys() == FAULTS.keys()
    assert report.results["keyed"].unknown == 0
    failed = [result.not_counted + result.resolved for result in report.results.values()]
    assert any(failed), "no attempt failed: the faults had no effect"
    group.wait_until_complete()


def _make_fault(group, name, faults):
    # One failure at a time: hits that the promoted server has not yet passed on are not safe.
    group.wait_until_complete()
    master = group.master()
    fault = FAULTS[name](faults, master, next(server for server in SERVERS if server != master))
    return _until_replaced(group, master, fault) if name in REPLACING else fault


@contextmanager
def _until_replaced(group, master, fault):
    """Let a fault last until another server is the master."""
    with fault:
        group.wait_for_switch(master)
        yield


#: The faults of the chaos test; each gets the names of the master and of a replica.
FAULTS = {
    "master killed": lambda faults, master, _: faults.killed(master),
    "master paused": lambda faults, master, _: faults.paused(master),
    "master isolated with web": lambda faults, master, _: faults.isolated(
        master, with_clients=["web"]
    ),
    "master restarted": lambda faults, master, _: faults.stopped(master),
    "master cut off": lambda faults, master, _: faults.partitioned(master),
    "replica killed": lambda faults, _, replica: faults.killed(replica),
    "replica paused": lambda faults, _, replica: faults.paused(replica),
    "Sentinel killed": lambda faults, *_: faults.killed("sentinel-2"),
    "Sentinel paused": lambda faults, *_: faults.paused("sentinel-3"),
    "failover by command": lambda faults, *_: faults.failover("sentinel-1"),
    "web killed": lambda faults, *_: faults.killed("web", replica=0),
}

#: Faults that last until the Sentinels have replaced the master.
REPLACING = {"master killed", "master paused", "master isolated with web"}

#: Faults during which possibly no hit fails: with a time-out of 2 s, hits outlast a failover.
UNNOTICED = FAULTS.keys() - {"master killed", "master paused"}


def test_down_and_up_after_failover(stack, group):
    """The stack starts with the master that the Sentinels chose while the former one was dead."""
    old = group.master()
    stack.kill(old)
    group.wait_for_switch(old)
    new = group.master()
    tally = Tally()
    for _ in range(3):
        tally.add(send_hit(stack.url()))
    stack.down()
    stack.up()
    stack.wait_ready()
    assert [server for server in SERVERS if group.role(server) == "master"] == [new]
    tally.add(send_hit(stack.url()))
    assert len(tally.values) == 4
    group.check(tally)
    group.wait_until_complete()
    assert group.master() == new
