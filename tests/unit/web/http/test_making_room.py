"""Which connections a table closes when there are too many."""

import pytest

from flask_redis_counter.web.http.connection_table import MAX_EVICTED, ConnectionTable

from .transport import Clock


class Connection:
    """A connection whose client confirms no end: it stays until it is aborted and lost."""

    held_bytes = 0

    def __init__(self, *, is_idle=True, idle_since=0.0):
        self.is_idle = is_idle
        self.idle_since = idle_since
        self.is_ending = self.is_aborted = False

    def close(self):
        """Begin to end."""
        self.is_idle, self.is_ending = False, True

    def abort(self):
        """End at once; the table hears of it later."""
        self.close()
        self.is_aborted = True


def full(size, **state):
    """Return a table that is full, and its connections."""
    table = ConnectionTable(Clock(), size)
    connections = [Connection(**state) for _ in range(size)]
    assert all(table.add(one) for one in connections)
    return table, connections


def test_a_burst_closes_about_as_many_as_it_needs():
    """The places of connections that were closed are given away before others are closed."""
    table, old = full(1000)
    new = [Connection(idle_since=1.0) for _ in range(64)]
    assert all(table.add(one) for one in new)
    assert 64 <= sum(one.is_ending for one in old) <= 80
    assert not any(one.is_ending for one in new)


def test_each_place_is_given_once():
    """One idle connection makes room for one other, though it has not ended yet."""
    table, old = full(1000, is_idle=False)
    old[500].is_idle = True
    assert [table.add(Connection(is_idle=False)) for _ in range(60)] == [True] + 59 * [False]
    assert table.is_flooded
    assert old[500].is_ending


@pytest.mark.parametrize("size", [20, 1000, 100_000])
def test_connections_that_do_not_end_are_bounded(size):
    """A table never holds many more connections than it may, if aborted ones are lost at once."""
    table, _ = full(size)
    for number in range(min(3 * size, 500)):
        assert table.add(Connection(idle_since=float(number)))
        for one in [one for one in table._connections if one.is_aborted]:
            table.remove(one)
        assert len(table) <= size + MAX_EVICTED + 1


def test_connections_that_end_make_room_if_none_is_idle():
    """Clients that were answered, and do not end their connections, do not keep others out."""
    table, old = full(10, is_idle=False)
    for one in old[:3]:
        one.is_ending = True
    assert [table.add(Connection(is_idle=False)) for _ in range(4)] == [True, True, True, False]
    assert [one.is_aborted for one in old] == 3 * [True] + 7 * [False]


def test_room_for_connections_that_are_about_to_come():
    """Idle connections are closed for those that are still in their TLS handshake as well."""
    table, old = full(10)
    assert not table.has_room()
    table = ConnectionTable(Clock(), 10)
    for one in old[:4]:
        table.add(one)
    assert table.has_room(5)
    assert not table.has_room(6)
    assert table.evict(6)
    assert [one.is_ending for one in old[:4]] == [True, False, False, False]
    assert table.has_room(6)
    assert not table.evict(12)


def test_the_longest_idle_is_closed_first():
    """Of those that are idle equally long, the oldest connection."""
    table = ConnectionTable(Clock(), 3)
    first, second, third = (Connection(idle_since=since) for since in (5.0, 4.0, 4.0))
    for one in (first, second, third):
        table.add(one)
    assert table.add(Connection(idle_since=6.0))
    assert [one.is_ending for one in (first, second, third)] == [False, True, False]
