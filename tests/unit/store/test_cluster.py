"""The slot map of a cluster, with fake nodes."""

import pytest
from redis.exceptions import ResponseError

from flask_redis_counter.store import cluster as module
from flask_redis_counter.store.causes import NoMasterError
from flask_redis_counter.store.cluster import Cluster
from flask_redis_counter.store.slot_map import SLOTS, key_slot
from flask_redis_counter.testing import wait_until

ONE, TWO, THREE = ("one", 1), ("two", 2), ("three", 3)


class Node:
    """A connection to a fake node.

    :param slots: its reply to CLUSTER SLOTS.
    :param epoch: version of the cluster's configuration.
    """

    def __init__(self, slots, epoch=1):
        self.slots = slots
        self.epoch = epoch
        self.asked = 0

    def connect(self):
        """Connect, or raise the error."""
        if isinstance(self.slots, Exception):
            raise self.slots
        self.asked += 1
        self._replies = [f"cluster_current_epoch:{self.epoch}\r\n".encode(), self.slots]

    def send_command(self, *_):
        """Take a command."""

    def read_response(self):
        """Return the next reply."""
        return self._replies.pop(0)

    def disconnect(self):
        """Do nothing."""


def serve(*ranges):
    """Return a reply to CLUSTER SLOTS."""
    return [
        [first, last, *([host.encode(), port, b"id"] for host, port in servers)]
        for first, last, servers in ranges
    ]


@pytest.fixture
def make(monkeypatch):
    """A function that makes a cluster of fake nodes, by their addresses."""
    monkeypatch.setattr(module, "POLL_INTERVAL", 0.01)
    monkeypatch.setattr(module, "HURRY_INTERVAL", 0.005)
    made = []

    def make(nodes, seeds=None):
        made.append(Cluster(nodes.__getitem__, seeds or list(nodes)))
        return made[-1]

    yield make
    for cluster in made:
        cluster.stop()


def test_owner(make):
    """owner() returns the master of the slot of a key; replicas are nodes, not masters."""
    slots = serve((0, 8191, [ONE, THREE]), (8192, SLOTS - 1, [TWO]))
    cluster = make({ONE: Node(slots), TWO: Node(slots), THREE: Node(slots)}, [ONE])
    cluster.wait(5)
    for key in ("a", "b", "c", "d"):
        assert cluster.owner(key) == (ONE if key_slot(key) < 8192 else TWO)
        assert cluster.owns(cluster.owner(key), key)
    assert cluster.masters() == (ONE, TWO)
    assert set(cluster.nodes()) == {ONE, TWO, THREE}


def test_key_slot():
    """Keys with the same tag have one slot; an empty tag is none."""
    assert key_slot("p:{x}") == key_slot("p:{x}:days") == key_slot(b"{x}")
    assert key_slot("p:{}:names") != key_slot("p:{}:rates")
    assert key_slot("123456789") == 0x31C3  # the specification's example


def test_map_of_a_lower_epoch_is_ignored(make):
    """A master that was cut off does not bring back an old map."""
    new, old = serve((0, SLOTS - 1, [TWO])), serve((0, SLOTS - 1, [ONE]))
    nodes = {ONE: Node(old, 1), TWO: Node(new, 2)}
    cluster = make(nodes)
    wait_until(lambda: cluster.masters() == (TWO,), what="the new map")
    asked = nodes[ONE].asked
    wait_until(lambda: nodes[ONE].asked > asked + 3, what="more answers of the old node")
    assert cluster.masters() == (TWO,)


def test_lower_epoch_is_accepted_after_a_while(make, monkeypatch):
    """The cluster was created again."""
    monkeypatch.setattr(module, "EPOCH_TTL", 0.05)
    node = Node(serve((0, SLOTS - 1, [ONE])), 7)
    cluster = make({ONE: node, TWO: node})
    cluster.wait(5)
    node.slots, node.epoch = serve((0, SLOTS - 1, [TWO])), 1
    wait_until(lambda: cluster.masters() == (TWO,), what="the new cluster")


def test_nodes_without_a_name(make):
    """Entries without a host have the address that was asked."""
    slots = [[0, SLOTS - 1, [b"", 5, b"id"], [None, 6, b"id"], [b"?", 7, b"id"]]]
    node = Node(slots)
    cluster = make({ONE: node, ("one", 5): node, ("one", 6): node, ("one", 7): node}, [ONE])
    cluster.wait(5)
    assert cluster.masters() == (("one", 5),)
    assert set(cluster.nodes()) == {ONE, ("one", 5), ("one", 6), ("one", 7)}


@pytest.mark.parametrize(
    ("answer", "message", "remedy"),
    [
        (
            ResponseError("This instance has cluster support disabled"),
            "one:1: it is not in cluster mode",
            "write redis:// instead",
        ),
        (ResponseError("NOPERM no permissions"), "NOPERM", "let the user run CLUSTER SLOTS"),
        (ConnectionRefusedError(111, "refused"), "refused", "start its nodes"),
        ([], "one:1 serves no hash slot", "--cluster create"),
    ],
)
def test_no_map(make, answer, message, remedy):
    """wait() says why there is no map, and what to do."""
    cluster = make({ONE: Node(answer)})
    with pytest.raises(NoMasterError, match=message) as raised:
        cluster.wait(5)
    assert remedy in raised.value.remedy


def test_frozen_node_delays_no_other_for_long(make):
    """The next node is asked if one fails."""
    dead, alive = Node(TimeoutError("timed out")), Node(serve((0, SLOTS - 1, [TWO])))
    cluster = make({ONE: dead, TWO: alive})
    cluster.wait(5)
    assert cluster.masters() == (TWO,)


def test_stopped_cluster_is_asked_again(make):
    """stop() ends the thread, and the next question starts it."""
    node = Node(serve((0, SLOTS - 1, [ONE])))
    cluster = make({ONE: node})
    cluster.wait(5)
    assert cluster.stop()
    assert not cluster.stop()
    asked = node.asked
    cluster.owner("a")
    wait_until(lambda: node.asked > asked, what="another question")


def test_thread_ends_with_its_cluster(make):
    """The thread does not keep the object alive."""
    node = Node(serve((0, SLOTS - 1, [ONE])))
    cluster = Cluster({ONE: node}.__getitem__, [ONE])
    cluster.wait(5)
    thread = cluster._thread
    del cluster
    thread.join(5)
    assert not thread.is_alive()
