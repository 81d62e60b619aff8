"""Connection pools for the masters of a cluster, for threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

import redis

from ..errors import OutcomeUnknownError, StoreError, StoreUnavailableError
from ..forking import ForkSafe
from ..validation import Durability
from .causes import NoMasterError
from .cluster import Cluster
from .connections import ATTEMPT_SHARE, Command
from .keys import ready_key
from .pool import ConnectionPool, Part
from .routing import Route, find_key, localize, spread
from .target import Target, parse_target
from .url import Address

#: Keys that are tried to find one of each master. A master of few slots may be left out.
MAX_READY_KEYS = 2000

_Pool = TypeVar("_Pool")


class ClusterPool(ForkSafe):
    """Connections to the masters of a cluster: a :class:`ConnectionPool` for each.

    :param target: has a cluster.
    :param timeout: seconds that one call may take.
    :param durability: checked on each new connection.
    :ivar attempt_timeout: seconds for connecting, and again for the replies.
    """

    is_cluster = True

    def __init__(
        self, target: Target, *, timeout: float, durability: Durability = "memory"
    ) -> None:
        assert target.cluster is not None  # noqa: S101
        self.attempt_timeout = timeout * ATTEMPT_SHARE
        self._target = target
        self._cluster: Cluster = target.cluster
        self._timeout = timeout
        self._durability: Durability = durability
        super().__init__()
        self.enter()

    def read(self, commands: Sequence[Command], near: str | None = None) -> list[Any]:
        """Send commands that change nothing, each to the node of its key.

        Raises the errors of :meth:`ConnectionPool.read`.

        :param near: a key; its node gets the commands if none of them has a key.
        """
        deadline = time.monotonic() + self._timeout
        try:
            return self._spread(commands, near, deadline, _read)
        except OutcomeUnknownError as error:
            raise StoreUnavailableError(str(error)) from error.__cause__

    def execute(
        self, commands: Sequence[Command], deadline: float | None = None, near: str | None = None
    ) -> list[Any]:
        """Send commands, each to the node of its key; see :meth:`ConnectionPool.execute`."""
        deadline = time.monotonic() + self._timeout if deadline is None else deadline
        if time.monotonic() > deadline - self.attempt_timeout:
            raise StoreUnavailableError("no time left to send the command")
        return self._spread(commands, near, deadline, _execute)

    def round_trip(
        self, prepare: Callable[[str], Sequence[Command]], deadline: float, near: str = ""
    ) -> list[Any]:
        """Send commands to the node of a key; see :meth:`ConnectionPool.round_trip`.

        Commands with keys of another node are answered with a redirection.

        :param near: the key.
        """
        self._wait_for_map(deadline)
        address = self._cluster.owner(near) or self._cluster.nodes()[0]
        sent: list[Command] = []

        def prepare_local(history: str) -> Sequence[Command]:
            sent[:] = map(localize, prepare(history))
            return sent

        try:
            replies = self._node(address).round_trip(prepare_local, deadline)
        except StoreError as error:
            self._cluster.refresh()
            raise explain_address(error, address, self._cluster) from error.__cause__
        for command, reply in zip(sent, replies, strict=True):
            if (key := find_key(command)) is not None:
                self._cluster.note_reply(key, reply, address)
        return replies

    def lane(self, key: str) -> Hashable:
        """Return what keys have in common whose hits may share a batch."""
        return self._cluster.lane(key)

    def parts(self) -> list[Part]:
        """Return the masters."""
        self._wait_for_map(time.monotonic() + self._timeout)
        owns = self._cluster.owns
        return [
            Part(f"{host}:{port}", self._node((host, port)), partial(owns, (host, port)))
            for host, port in self._cluster.masters()
        ]

    def ready_keys(self, prefix: str) -> list[str]:
        """Return for each master a key of its slots that is never set."""
        self._wait_for_map(time.monotonic() + self._timeout)
        return find_ready_keys(self._cluster, prefix)

    def close(self) -> None:
        """Close the idle connections; the pool stays usable, and connects again."""
        self.enter()
        for node in list(self._nodes.values()):
            node.close()

    def _reset(self) -> None:
        self._nodes: dict[Address, ConnectionPool] = {}

    def _node(self, address: Address) -> ConnectionPool:
        self.enter()
        found = self._nodes.get(address)
        if found is None:
            for pool in take_former(self._nodes, self._cluster):
                pool.close()  # a thread that has it may go on
            found = self._nodes.setdefault(
                address,
                ConnectionPool(
                    self._target.at(address), timeout=self._timeout, durability=self._durability
                ),
            )
        return found

    def _spread(
        self,
        commands: Sequence[Command],
        near: str | None,
        deadline: float,
        send: Callable[[ConnectionPool, Sequence[Command], float], list[Any]],
    ) -> list[Any]:
        self._wait_for_map(deadline)
        steps = spread(self._cluster, commands, near)
        routes, delay = next(steps)
        while True:
            if delay:
                time.sleep(max(0.0, min(delay, deadline - time.monotonic())))
            results: list[list[Any] | StoreError] = []
            for route in routes:
                failed = bool(results) and isinstance(results[-1], StoreError)
                # One error ends the exchange: nothing more is sent.
                results.append(results[-1] if failed else self._send(route, deadline, send))
            try:
                routes, delay = steps.send(results)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]

    def _send(
        self,
        route: Route,
        deadline: float,
        send: Callable[[ConnectionPool, Sequence[Command], float], list[Any]],
    ) -> list[Any] | StoreError:
        if time.monotonic() > deadline - self.attempt_timeout:
            return StoreUnavailableError("no time left to send the command")
        try:
            replies = send(self._node(route.address), add_asking(route), deadline)
        except StoreError as error:
            return explain_address(error, route.address, self._cluster)
        return strip_asking(route, replies)

    def _wait_for_map(self, deadline: float) -> None:
        if self._cluster.masters():
            return
        try:
            self._cluster.wait(min(self.attempt_timeout, deadline - time.monotonic()))
        except NoMasterError as error:
            raise make_unavailable(error, self.attempt_timeout) from error


def take_former(nodes: dict[Address, _Pool], cluster: Cluster) -> list[_Pool]:
    """Remove the pools of nodes that have left the cluster, and return them."""
    known = set(cluster.nodes())
    former = [address for address in list(nodes) if address not in known]
    return [pool for address in former if (pool := nodes.pop(address, None)) is not None]


def add_asking(route: Route) -> list[Command]:
    """Return the commands of a route, each after ``ASKING`` if its slot is being moved there."""
    if not route.asking:
        return route.commands
    return [part for command in route.commands for part in (("ASKING",), command)]


def strip_asking(route: Route, replies: list[Any]) -> list[Any]:
    """Return the replies to the commands of a route, without those to ``ASKING``."""
    return replies[1::2] if route.asking else replies


def find_ready_keys(cluster: Cluster, prefix: str) -> list[str]:
    """Return for each master a key of its slots that is never set."""
    masters = cluster.masters()
    found: dict[Address, str] = {}
    for number in range(MAX_READY_KEYS):
        if len(found) == len(masters):
            break
        key = f"{ready_key(prefix)}:{number}"
        if (owner := cluster.find_owner(key)) is not None:
            found.setdefault(owner, key)
    return list(found.values())


def make_unavailable(error: NoMasterError, seconds: float) -> StoreUnavailableError:
    """Return an error that says why there is no slot map."""
    message = f"no connection to the store within {seconds * 1000:.0f} ms: {error}"
    unavailable = StoreUnavailableError(f"{message}: {error.remedy}" if error.remedy else message)
    unavailable.remedy = error.remedy
    return unavailable


def explain_address(error: StoreError, address: Address, cluster: Cluster) -> StoreError:
    """Return the error of a node, with its address."""
    text = f"{address[0]}:{address[1]}: {error}"
    if isinstance(error, StoreUnavailableError) and address not in cluster.seeds:
        text += (
            "; the cluster announces this address: if this machine cannot reach it, set "
            "cluster-announce-ip or cluster-announce-hostname on its nodes"
        )
    explained = type(error)(text)
    if isinstance(error, StoreUnavailableError) and isinstance(explained, StoreUnavailableError):
        explained.remedy = error.remedy
    explained.__cause__ = error.__cause__
    return explained


def _read(pool: ConnectionPool, commands: Sequence[Command], _: float) -> list[Any]:
    return pool.read(commands)


def _execute(pool: ConnectionPool, commands: Sequence[Command], deadline: float) -> list[Any]:
    return pool.execute(commands, deadline)


#: Connections to a store.
StorePool: TypeAlias = ConnectionPool | ClusterPool


def open_pool(
    target: str | redis.Redis | redis.RedisCluster | Target,
    *,
    timeout: float,
    durability: Durability = "memory",
) -> StorePool:
    """Return a pool for a store: one server, or a cluster.

    :raises ConfigurationError: the URL is invalid, or the target is not a client of redis-py.
    """
    parsed = parse_target(target, redis)
    if parsed.cluster is not None:
        return ClusterPool(parsed, timeout=timeout, durability=durability)
    return ConnectionPool(parsed, timeout=timeout, durability=durability)
