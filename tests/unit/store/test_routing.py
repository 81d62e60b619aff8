"""Commands for a cluster: nodes, redirections and merged replies."""

import pytest
from redis.exceptions import (
    AskError,
    BusyLoadingError,
    MovedError,
    ResponseError,
    TryAgainError,
)

from flask_redis_counter.errors import (
    OutcomeUnknownError,
    StoreUnavailableError,
)
from flask_redis_counter.store.cluster import Cluster
from flask_redis_counter.store.keys import CounterKeys, idempotency_record, names_key
from flask_redis_counter.store.replies import make_rejection
from flask_redis_counter.store.routing import MAX_ROUNDS, find_key, localize, spread
from flask_redis_counter.store.scripts import HIT
from flask_redis_counter.store.slot_map import SLOTS, SlotMap, key_slot

A, B = ("a", 1), ("b", 2)


class FakeCluster(Cluster):
    """A cluster whose map is given: A serves the lower half of the slots, B the upper one."""

    def __init__(self):
        super().__init__(None, [A])
        half = SLOTS // 2
        self._map = SlotMap([A] * half + [B] * half, (A, B), (A, B), 1)
        self.refreshed = 0

    def _start(self):
        pass

    def refresh(self):
        """Note that the map is asked for."""
        self.refreshed += 1


@pytest.fixture
def cluster():
    """A cluster of two masters."""
    return FakeCluster()


def keys_of(address, number):
    """Return keys that a master of the fake cluster serves."""
    cluster = FakeCluster()
    every = (f"key{it}" for it in range(1000))
    found = [key for key in every if cluster.owner(key) == address]
    return found[:number]


def drive(steps, *results):
    """Run spread() with the results of each step: a function of the address and commands."""
    taken = []
    answers = iter(results)
    routes, _ = next(steps)
    while True:
        taken.append([(route.address, route.asking, route.commands) for route in routes])
        answer = next(answers)
        try:
            routes, _ = steps.send([answer(route.address, route.commands) for route in routes])
        except StopIteration as end:
            return end.value, taken


def echo(address, commands):
    """Reply to each command with its key and the node's host."""
    return [f"{find_key(command)}@{address[0]}" for command in commands]


def test_commands_go_to_the_masters_of_their_keys(cluster):
    """Each command goes to one node; the replies are in the order of the commands."""
    [a1, a2], [b1] = keys_of(A, 2), keys_of(B, 1)
    commands = [("GET", a1), ("GET", b1), ("GET", a2)]
    replies, taken = drive(spread(cluster, commands, None), echo)
    assert replies == [f"{a1}@a", f"{b1}@b", f"{a2}@a"]
    assert taken == [[(A, False, [("GET", a1), ("GET", a2)]), (B, False, [("GET", b1)])]]


def test_commands_without_a_key(cluster):
    """They go to the node of `near`, otherwise to all masters; WAIT goes where writes went."""
    [b1] = keys_of(B, 1)
    _, taken = drive(spread(cluster, [("PING",)], b1), echo)
    assert taken == [[(B, False, [("PING",)])]]
    _, taken = drive(spread(cluster, [("PING",)], None), echo)
    assert [address for address, *_ in taken[0]] == [A, B]
    commands = [("SET", b1, 1), ("WAIT", 1, 5), ("INFO", "memory")]
    replies, taken = drive(spread(cluster, commands, b1), lambda *_: [b"OK", 1, b"x:1\r\n"])
    assert taken == [[(B, False, commands)]]
    assert replies == [b"OK", 1, b"x:1\r\n"]
    _, taken = drive(spread(cluster, [("GET", b1), ("WAIT", 1, 5)], None), lambda *_: [b"1", 1])
    assert taken == [[(B, False, [("GET", b1), ("WAIT", 1, 5)])]]


def test_replies_of_several_nodes_are_merged(cluster):
    """The fewest confirmations count; sections of INFO are added; an error is the reply."""
    [a1], [b1] = keys_of(A, 1), keys_of(B, 1)
    commands = [("SET", a1, 1), ("SET", b1, 1), ("WAIT", 1, 5), ("WAITAOF", 1, 0, 5)]

    def confirm(address, _):
        return [b"OK", *((2, [1, 1]) if address == A else (1, [0, 2]))]

    replies, _ = drive(spread(cluster, commands, None), confirm)
    assert replies[2:] == [1, [0, 1]]
    error = make_rejection(TryAgainError("no"))
    replies, _ = drive(
        spread(cluster, [("PING",)], None),
        *[lambda address, _: [b"PONG"] if address == A else [error]] * MAX_ROUNDS,
    )
    assert replies == [error]

    def describe(address, _):
        number, policy = (3, "noeviction") if address == A else (4, "allkeys-lru")
        text = f"used_memory:{number}\r\nrun_id:{number}\r\nmaxmemory_policy:{policy}\r\nx:1\r\n"
        text += f"maxmemory:{9 if address == A else 0}\r\n"
        return [text.encode()]

    [info], _ = drive(spread(cluster, [("INFO", "memory")], None), describe)
    assert set(info.decode().split()) == {
        "used_memory:7",
        "servers:2",
        "maxmemory_policy:allkeys-lru",
        "maxmemory:0",  # one of them has no limit
        "x:1",
    }


def test_moved_is_followed_and_remembered(cluster):
    """A command that was redirected is sent to the other node, and later ones as well."""
    [a1, a2] = keys_of(A, 2)
    moved = make_rejection(MovedError(f"{key_slot(a1)} b:2"))
    replies, taken = drive(
        spread(cluster, [("GET", a1), ("GET", a2)], None), lambda *_: [moved, b"2"], echo
    )
    assert replies == [f"{a1}@b", b"2"]
    assert taken[1] == [(B, False, [("GET", a1)])]
    assert cluster.owner(a1) == B
    assert cluster.refreshed


def test_ask_is_followed_with_asking(cluster):
    """ASK concerns one command; the map stays, but the slot gets a lane of its own."""
    [a1, a2] = keys_of(A, 2)
    ask = make_rejection(AskError(f"{key_slot(a1)} b:2"))
    replies, taken = drive(spread(cluster, [("GET", a1)], None), lambda *_: [ask], echo)
    assert replies == [f"{a1}@b"]
    assert taken[1] == [(B, True, [("GET", a1)])]
    assert cluster.owner(a1) == cluster.owner(a2) == A
    assert (cluster.lane(a1), cluster.lane(a2)) == (key_slot(a1), A)
    _, taken = drive(spread(cluster, [("GET", a1)], None), echo)
    assert taken == [[(A, False, [("GET", a1)])]]
    cluster.note_reply(a1, make_rejection(MovedError(f"{key_slot(a1)} b:2")), A)
    assert cluster.owner(a1) == cluster.lane(a1) == B


def test_moved_without_a_host_means_the_node_that_was_asked(cluster):
    """Nodes that do not know their own name send only the port."""
    [a1] = keys_of(A, 1)
    for host in ("", "?"):
        cluster.note_reply(a1, make_rejection(MovedError(f"{key_slot(a1)} {host}:9")), A)
        assert cluster.owner(a1) == ("a", 9)


def test_try_again_is_repeated(cluster):
    """A key of the slot was on its way; after some attempts the error is the reply."""
    [a1] = keys_of(A, 1)
    again = make_rejection(TryAgainError("Multiple keys request during rehashing of slot"))
    replies, taken = drive(spread(cluster, [("GET", a1)], None), lambda *_: [again], echo)
    assert replies == [f"{a1}@a"]
    assert len(taken) == 2
    replies, taken = drive(spread(cluster, [("GET", a1)], None), *[lambda *_: [again]] * MAX_ROUNDS)
    assert replies == [again]


def test_failures(cluster):
    """Nothing was executed if the first node is not reached; otherwise that is unknown."""
    [a1], [b1] = keys_of(A, 1), keys_of(B, 1)
    down = StoreUnavailableError("down")
    with pytest.raises(StoreUnavailableError):
        drive(spread(cluster, [("SET", a1, 1), ("SET", b1, 1)], None), lambda *_: down)
    assert cluster.refreshed == 1
    for failing in (A, B):
        for error in (down, make_rejection(BusyLoadingError("loading"))):
            with pytest.raises(OutcomeUnknownError, match="some nodes have answered; then: "):
                drive(
                    spread(cluster, [("SET", a1, 1), ("SET", b1, 1)], None),
                    lambda address, _, failing=failing, error=error: (
                        error if address == failing else [b"OK"]
                    ),
                )
    moved = make_rejection(MovedError(f"{key_slot(a1)} b:2"))
    with pytest.raises(StoreUnavailableError):  # nothing was executed by a redirection
        drive(spread(cluster, [("SET", a1, 1)], None), lambda *_: [moved], lambda *_: down)


def test_confirmations_of_redirected_commands_do_not_count(cluster):
    """WAIT is repeated where the command goes; INFO of all servers is asked once."""
    a1, a2 = keys_of(A, 2)
    moved = make_rejection(MovedError(f"{key_slot(a1)} b:2"))
    refused = make_rejection(ResponseError("WAIT cannot be used with replica instances"))
    commands = [("SET", a1, 1), ("WAIT", 1, 5), ("INFO", "server")]
    replies, taken = drive(
        spread(cluster, commands, a1),
        lambda *_: [moved, refused, b"x:1\r\n"],
        lambda *_: [b"OK", 1, b"x:2\r\n"],
    )
    assert replies == [b"OK", 1, b"x:2\r\n"]
    assert [step[0][0] for step in taken] == [A, B]
    again = make_rejection(TryAgainError("Multiple keys"))

    def describe(address, commands):
        used = b"used_memory:3\r\n"
        return [again if command[0] == "GET" else used for command in commands]

    replies, taken = drive(
        spread(cluster, [("GET", a2), ("INFO", "memory")], None), describe, lambda *_: [b"1"]
    )
    assert replies == [b"1", b"used_memory:6\r\nservers:2\r\n"]
    assert taken[1] == [(A, False, [("GET", a2)])]


def test_slot_without_a_master(cluster):
    """The error says how to repair the cluster."""
    [a1] = keys_of(A, 1)
    cluster._map.owners[key_slot(a1)] = None
    with pytest.raises(StoreUnavailableError, match=r"1 of 16384 .*--cluster fix"):
        drive(spread(cluster, [("GET", a1)], None), echo)


def test_script_keys_have_one_slot():
    """Keys that all counters share become keys of the counter's slot; other commands stay."""
    keys = CounterKeys("p:{x}")
    command = HIT.evalsha((keys.counter, keys.days, keys.names, keys.rates), "1", 2, "p:{}:names")
    local = localize(command)
    assert local[3:] == ("p:{x}", "p:{x}:days", "p:{x}:names", "p:{x}:rates", "1", 2, "p:{}:names")
    assert len({key_slot(key) for key in local[3:7]}) == 1
    token = idempotency_record("p:{x}", "p:{}:names{}")
    assert localize(HIT.evalsha((keys.counter, token), "1"))[4] == token
    shared = HIT.evalsha((names_key("p:"),), "1")
    for unchanged in (shared, ("GET", "p:{}:names"), ("EVAL", "return 1", 0)):
        assert localize(unchanged) == unchanged
