"""Connection pools for the masters of a cluster, for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, TypeAlias

import redis.asyncio

from ..errors import OutcomeUnknownError, StoreError, StoreUnavailableError
from ..validation import Durability
from .async_pool import AsyncConnectionPool
from .causes import NoMasterError
from .cluster import Cluster
from .cluster_pool import (
    add_asking,
    explain_address,
    find_ready_keys,
    make_unavailable,
    strip_asking,
    take_former,
)
from .connections import ATTEMPT_SHARE, Command, ConnectionFactory
from .routing import Route, find_key, localize, spread
from .target import Target
from .url import Address

_Send: TypeAlias = Callable[[AsyncConnectionPool, Sequence[Command], float], Awaitable[list[Any]]]


class AsyncClusterPool:
    """Connections to the masters of a cluster, shared by the tasks of one event loop.

    The twin of :class:`.ClusterPool`, with an :class:`AsyncConnectionPool` for each master.
    """

    is_cluster = True

    def __init__(self, target: Target, *, timeout: float, durability: Durability) -> None:
        assert target.cluster is not None  # noqa: S101
        self.attempt_timeout = timeout * ATTEMPT_SHARE
        self._target = target
        self._cluster: Cluster = target.cluster
        self._timeout = timeout
        self._durability: Durability = durability
        self._nodes: dict[Address, AsyncConnectionPool] = {}

    async def read(self, commands: Sequence[Command], near: str | None = None) -> list[Any]:
        """Send commands that change nothing; see :meth:`.ClusterPool.read`."""
        deadline = asyncio.get_running_loop().time() + self._timeout
        try:
            return await self._spread(commands, near, deadline, _read)
        except OutcomeUnknownError as error:
            raise StoreUnavailableError(str(error)) from error.__cause__

    async def execute(
        self, commands: Sequence[Command], deadline: float | None = None, near: str | None = None
    ) -> list[Any]:
        """Send commands, each to the node of its key; see :meth:`.ClusterPool.execute`."""
        now = asyncio.get_running_loop().time()
        deadline = now + self._timeout if deadline is None else deadline
        if now > deadline - self.attempt_timeout:
            raise StoreUnavailableError("no time left to send the command")
        return await self._spread(commands, near, deadline, _execute)

    async def round_trip(
        self, prepare: Callable[[str], Sequence[Command]], deadline: float, near: str = ""
    ) -> list[Any]:
        """Send commands to the node of a key; see :meth:`.ClusterPool.round_trip`."""
        await self._wait_for_map(deadline)
        address = self._cluster.owner(near) or self._cluster.nodes()[0]
        sent: list[Command] = []

        def prepare_local(history: str) -> Sequence[Command]:
            sent[:] = map(localize, prepare(history))
            return sent

        try:
            node = await self._node(address)
            replies = await node.round_trip(prepare_local, deadline)
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

    async def ready_keys(self, prefix: str) -> list[str]:
        """Return for each master a key of its slots that is never set."""
        await self._wait_for_map(asyncio.get_running_loop().time() + self._timeout)
        return find_ready_keys(self._cluster, prefix)

    async def close(self) -> None:
        """Close the idle connections; the pool stays usable, and connects again."""
        for node in list(self._nodes.values()):
            await node.close()

    async def _node(self, address: Address) -> AsyncConnectionPool:
        found = self._nodes.get(address)
        if found is None:
            former = take_former(self._nodes, self._cluster)
            factory = ConnectionFactory(self._target.at(address), redis.asyncio, None)
            found = self._nodes[address] = AsyncConnectionPool(
                factory, timeout=self._timeout, durability=self._durability
            )
            for pool in former:
                await pool.close()
        return found

    async def _spread(
        self, commands: Sequence[Command], near: str | None, deadline: float, send: _Send
    ) -> list[Any]:
        await self._wait_for_map(deadline)
        steps = spread(self._cluster, commands, near)
        routes, delay = next(steps)
        while True:
            if delay:
                left = deadline - asyncio.get_running_loop().time()
                await asyncio.sleep(max(0.0, min(delay, left)))
            results = await asyncio.gather(*(self._send(route, deadline, send) for route in routes))
            try:
                routes, delay = steps.send(results)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]

    async def _send(self, route: Route, deadline: float, send: _Send) -> list[Any] | StoreError:
        if asyncio.get_running_loop().time() > deadline - self.attempt_timeout:
            return StoreUnavailableError("no time left to send the command")
        try:
            node = await self._node(route.address)
            replies = await send(node, add_asking(route), deadline)
        except StoreError as error:
            return explain_address(error, route.address, self._cluster)
        return strip_asking(route, replies)

    async def _wait_for_map(self, deadline: float) -> None:
        if self._cluster.masters():
            return
        left = min(self.attempt_timeout, deadline - asyncio.get_running_loop().time())
        try:
            await asyncio.to_thread(self._cluster.wait, left)
        except NoMasterError as error:
            raise make_unavailable(error, self.attempt_timeout) from error


async def _read(pool: AsyncConnectionPool, commands: Sequence[Command], _: float) -> list[Any]:
    return await pool.read(commands)


async def _execute(
    pool: AsyncConnectionPool, commands: Sequence[Command], deadline: float
) -> list[Any]:
    return await pool.execute(commands, deadline)
