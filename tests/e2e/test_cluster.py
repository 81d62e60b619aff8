"""The stack with a Redis Cluster: sums stay exact when masters change and slots are moved."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from threading import Event

import pytest
import requests

from flask_redis_counter.store.slot_map import key_slot
from flask_redis_counter.testing import ComposeStack, Tally, run_chaos, send_hit, wait_until

from .conftest import CLUSTER_FILES, PASSWORD, replicated_stack
from .support import read_value

pytestmark = pytest.mark.compose

NODES = tuple(f"node-{number}" for number in range(1, 7))

#: Counters on all masters.
NAMES = [f"counter-{number}" for number in range(9)]

#: Hits on each counter that must be acknowledged before a disruption, and again after it.
HITS_EACH = 20


class Nodes:
    """The nodes of a stack, and the outcomes of all hits so far.

    :ivar stack: the stack.
    """

    def __init__(self, stack: ComposeStack) -> None:
        self.stack = stack
        self._totals = {name: Tally() for name in NAMES}

    def run(self, node: str, *command: object) -> str:
        """Return the reply of a node to a command."""
        words = 'REDISCLI_AUTH="$REDIS_PASSWORD" exec redis-cli -e "$@"'
        arguments = map(str, command)
        return self.stack.exec(node, "sh", "-c", words, "sh", *arguments).output.strip()

    def owner(self, name: str) -> str:
        """Return the master that serves a counter, as a running node sees it."""
        slot = key_slot(f"counter:{{{name}}}")
        for line in self._view():
            fields = line.split()
            if "master" in fields[2] and "fail" not in fields[2]:
                for part in fields[8:]:
                    first, _, last = part.partition("-")
                    if first.isdigit() and int(first) <= slot <= int(last or first):
                        return self._service(fields[1])
        return ""

    def replica(self, master: str) -> str:
        """Return the replica of a master."""
        (found,) = [
            self._service(fields[1])
            for fields in map(str.split, self._view())
            if fields[3] == self.run(master, "cluster", "myid")
        ]
        return found

    @contextmanager
    def moving_slot(self, name: str) -> Iterator[None]:
        """Move the hash slot of a counter to another master: a part of its keys before the block.

        In the block, hits on the counter have to wait.
        """
        slot, source = key_slot(f"counter:{{{name}}}"), self.owner(name)
        target = next(owner for owner in map(self.owner, NAMES) if owner not in ("", source))
        source_id, target_id = (self.run(node, "cluster", "myid") for node in (source, target))
        address = next(
            line.split()[1].partition(":")[0]
            for line in self.run(source, "cluster", "nodes").splitlines()
            if line.startswith(target_id)
        )
        self.run(target, "cluster", "setslot", slot, "importing", source_id)
        self.run(source, "cluster", "setslot", slot, "migrating", target_id)

        def move(count: int) -> bool:
            keys = self.run(source, "cluster", "getkeysinslot", slot, count).splitlines()
            command = ("migrate", address, 6379, "", 0, 5000, "auth", PASSWORD, "keys")
            return bool(keys) and self.run(source, *command, *keys) == "OK"

        move(2)
        yield
        while move(1000):
            pass
        for node in (target, source):
            self.run(node, "cluster", "setslot", slot, "node", target_id)
        wait_until(lambda: self.owner(name) == target, what="the slot at its target")

    def wait_until_complete(self) -> None:
        """Wait until all nodes see three masters, each with a replica in step."""
        wait_until(self._is_complete, timeout=60, what="a complete cluster")

    def count_during(self, disrupt) -> dict[str, Tally]:
        """Count on all counters during a disruption; return the outcomes, and check the values."""
        ended, tallies = Event(), {name: Tally() for name in NAMES}
        url = self.stack.url()

        def visit(name: str) -> None:
            while not ended.is_set():
                tallies[name].add(send_hit(url, counter=name))

        def has_more(before: dict[str, int]) -> bool:
            return all(len(tallies[name].values) >= before[name] + HITS_EACH for name in NAMES)

        with ThreadPoolExecutor(len(NAMES)) as pool:
            visits = [pool.submit(visit, name) for name in NAMES]
            try:
                wait_until(lambda: has_more(dict.fromkeys(NAMES, 0)), what="hits")
                disrupt()
                before = {name: len(tallies[name].values) for name in NAMES}
                wait_until(lambda: has_more(before), timeout=30, what="hits afterwards")
            finally:
                ended.set()
            for visit_ in visits:
                visit_.result()
        for name in NAMES:
            self._totals[name].add(tallies[name])
        self.check()
        return tallies

    def check(self) -> None:
        """Check all counters against all hits so far.

        Hits that were lost are sent again, so the sum may be too low for a moment.
        """
        for name, total in self._totals.items():
            known, unknown = len(total.values), total.unknown
            if not known + unknown:
                continue  # no test has hit it
            value = wait_until(
                lambda name=name, known=known: (v := read_value(self.stack, name)) >= known and v,
                what=f"{known} acknowledged hits of {name} (and {unknown} unknown ones)",
            )
            assert value <= known + unknown, f"a hit of {name} was counted twice"

    def _view(self) -> list[str]:
        running = next(node for node in NODES if self._is_running(node))
        return self.run(running, "cluster", "nodes").splitlines()

    def _is_running(self, node: str) -> bool:
        return all(one.status == "running" for one in self.stack.state(node))

    def _service(self, address: str) -> str:
        return NODES[int(address.partition(":")[0].rpartition(".")[2]) - 31]

    def _is_complete(self) -> bool:
        for node in NODES:
            lines = [line.split() for line in self.run(node, "cluster", "nodes").splitlines()]
            assert len(lines) == len(NODES), lines
            assert not any("fail" in fields[2] or fields[7] != "connected" for fields in lines)
            assert sum("master" in fields[2] for fields in lines) == 3, lines
            link = self.run(node, "info", "replication")
            assert "role:master" in link or "master_link_status:up" in link, link
            assert "role:slave" in link or "state=online" in link, link
        return True


@pytest.fixture(scope="module")
def cluster_stack(pytestconfig, image):
    """A stack with a cluster for all tests of the module."""
    with replicated_stack(pytestconfig, CLUSTER_FILES) as stack:
        yield stack


@pytest.fixture(scope="module")
def total(cluster_stack):
    """The nodes of the stack, with the outcomes of the hits of all tests."""
    return Nodes(cluster_stack)


@pytest.fixture
def shared_stack(cluster_stack):
    """Use the stack with a cluster for `stack` and `faults`."""
    return cluster_stack


@pytest.fixture
def nodes(stack, total):
    """The nodes, complete."""
    total.wait_until_complete()
    return total


def test_counters_are_on_all_masters(stack, nodes):
    """Counters count from 1, are listed, and are spread over the masters."""
    tallies = nodes.count_during(lambda: None)
    for tally in tallies.values():
        assert tally.values[0] == 1
        assert tally.not_counted + tally.unknown == 0
    answer = requests.get(f"{stack.url()}/counters", timeout=5).json()
    assert [counter["name"] for counter in answer["counters"]] == sorted(NAMES)
    assert {nodes.owner(name) for name in NAMES} == {"node-1", "node-2", "node-3"}


def test_planned_failover_under_load(nodes):
    """It loses no hit, counts none twice, and fails none."""
    old = nodes.owner(NAMES[0])

    def fail_over():
        nodes.run(nodes.replica(old), "cluster", "failover")
        wait_until(lambda: nodes.owner(NAMES[0]) != old, what=f"another master than {old}")

    tallies = nodes.count_during(fail_over)
    assert sum(tally.not_counted + tally.unknown for tally in tallies.values()) == 0


def test_sigkill_of_master_under_load(stack, nodes):
    """Only its counters fail, until its replica is promoted; it comes back as a replica."""
    old = nodes.owner(NAMES[0])
    mine = {name for name in NAMES if nodes.owner(name) == old}

    def kill_master():
        stack.kill(old)
        wait_until(lambda: nodes.owner(NAMES[0]) not in ("", old), timeout=30, what="a new master")

    tallies = nodes.count_during(kill_master)
    failed = {name for name, tally in tallies.items() if tally.not_counted + tally.unknown}
    assert failed, "the failure had no effect"
    assert failed <= mine
    stack.start(old)
    nodes.wait_until_complete()
    nodes.check()


def test_slots_are_moved_under_load(nodes):
    """A counter moves to another master, with all its keys, while it counts."""
    name = NAMES[0]
    source = nodes.owner(name)

    def move():
        with nodes.moving_slot(name):
            pass
        assert nodes.owner(name) != source

    tallies = nodes.count_during(move)
    others = [tally for other, tally in tallies.items() if other != name]
    assert sum(tally.not_counted + tally.unknown for tally in others) == 0


def test_chaos(stack, nodes, pytestconfig):
    """Acknowledged hits count exactly once while nodes fail and slots are moved."""
    minutes, seed, max_pause = map(
        pytestconfig.getoption, ("--minutes", "--nemesis-seed", "--max-pause")
    )
    report = run_chaos(
        stack,
        seconds=60 * minutes,
        seed=seed,
        max_pause=max_pause,
        faults={name: partial(_make_fault, nodes, name) for name in FAULTS},
        undetectable=FAULTS.keys() - {"master killed"},
        allows_failovers=True,
    )
    assert report.faults.keys() == FAULTS.keys()
    assert report.results["keyed"].unknown == 0
    nodes.wait_until_complete()
    nodes.check()


def _make_fault(nodes, name, faults):
    # One failure at a time: hits that the promoted server has not yet passed on are not safe.
    nodes.wait_until_complete()
    return FAULTS[name](faults, nodes, next(COUNTERS))


#: Counters of the chaos test, one of which each fault affects.
COUNTERS = cycle(("keyed", "unkeyed", "mixed"))

#: The faults of the chaos test; each gets the nodes and the name of a counter.
FAULTS = {
    "master killed": lambda faults, nodes, name: faults.killed(nodes.owner(name)),
    "master paused": lambda faults, nodes, name: faults.paused(nodes.owner(name)),
    "master restarted": lambda faults, nodes, name: faults.stopped(nodes.owner(name)),
    "master cut off": lambda faults, nodes, name: faults.partitioned(nodes.owner(name)),
    "replica killed": lambda faults, nodes, name: faults.killed(nodes.replica(nodes.owner(name))),
    "replica paused": lambda faults, nodes, name: faults.paused(nodes.replica(nodes.owner(name))),
    "slot moved": lambda _, nodes, name: nodes.moving_slot(name),
    "web killed": lambda faults, *_: faults.killed("web", replica=0),
}


def test_down_and_up(stack, nodes):
    """All hits are there after all nodes were stopped, and the cluster forms itself."""
    stack.down()
    stack.up()
    stack.wait_ready()
    nodes.wait_until_complete()
    nodes.check()
    tallies = nodes.count_during(lambda: None)
    assert sum(tally.not_counted + tally.unknown for tally in tallies.values()) == 0
