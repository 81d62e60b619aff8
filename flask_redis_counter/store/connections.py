"""Connections to the store: those of redis-py, without its retries.

redis-py's clients repeat a command whose reply was lost, which would count a hit twice. So only
redis-py's connections are used here, even if a client is given.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Sequence
from functools import lru_cache, partial
from types import ModuleType
from typing import Any, TypeAlias

from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from ..errors import (
    ConfigurationError,
    DurabilityUnsupportedError,
    StoreUnavailableError,
)
from ..log_throttle import warn_once
from .causes import NoMasterError, find_cause
from .server_state import IDENTITY_PROBE, is_cluster_node, parse_history, parse_sections
from .target import describe_option, parse_target

Command: TypeAlias = Sequence[str | bytes | int]

#: Commands sent on a new connection for durability=fsync. A server that supports WAITAOF replies
#: immediately, because nothing was written on the connection.
WAITAOF_PROBE: tuple[Command, ...] = (
    ("WAITAOF", 1, 0, 1),
    ("INFO", "server"),
    ("CONFIG GET", "appendfsync"),
)

#: The first major version of Redis on which WAITAOF was seen to wait for the disk with every value
#: of appendfsync.
WAITING_REDIS = 8

#: Share of the timeout for connecting, and again for the replies. The rest is for a second attempt.
ATTEMPT_SHARE = 0.4


class ConnectionFactory:
    """Connects to one store, and explains why connecting failed.

    If Sentinels name the store, a connection leads to the master of the moment, which is asked for
    its role, because a Sentinel may not know yet of a failover.

    :param target: a URL (``redis://``, ``rediss://``, ``unix://``, ``valkey://``, ``valkeys://``,
        ``redis+sentinel://``, ``rediss+sentinel://``, ``redis+cluster://``, ``rediss+cluster://``)
        or a client of redis-py, whose address and credentials are copied; the client itself is not
        changed. Of a cluster, a connection leads to any node.
    :param library: :mod:`redis` or :mod:`redis.asyncio`.
    :param timeout: seconds that connecting and each reply may take; None: the caller has timeouts.
    :raises ConfigurationError: the URL is invalid, or the target is not a client of the library.
    """

    def __init__(self, target: object, library: ModuleType, timeout: float | None) -> None:
        parsed = parse_target(target, library)
        self._sentinels = parsed.sentinels
        # A target with an address is one node of a cluster.
        self._cluster = parsed.cluster
        self._is_any_node = parsed.cluster is not None and "host" not in parsed.kwargs
        kwargs = parsed.kwargs | {
            "retry": library.retry.Retry(NoBackoff(), 0),
            "retry_on_timeout": False,
            "retry_on_error": [],
            "socket_timeout": timeout,
            "health_check_interval": 0,
            "decode_responses": False,
            "protocol": 2,
        }
        if not issubclass(parsed.connection_class, library.UnixDomainSocketConnection):
            kwargs["socket_connect_timeout"] = timeout
        self._secure = issubclass(parsed.connection_class, library.SSLConnection)
        self._make = partial(parsed.connection_class, **kwargs)
        problem = None
        try:
            self._make()
        except (TypeError, ValueError, RedisError) as error:  # an invalid option in the URL's query
            problem = describe_option(error)
        if problem is not None:
            raise ConfigurationError("REDIS_URL", problem)

    def connect(self, timeout: float) -> Any:
        """Return a new connection.

        Its attribute ``history`` is the history of the server (:class:`.ServerState`).

        :param timeout: seconds to wait for a Sentinel's answer.
        :raises NoMasterError: the Sentinels name no master that can be used.
        :raises RedisError: connecting failed, or the server rejects the credentials.
        """
        problems: list[Exception] = []
        for options in self._addresses(timeout):
            connection = self._make(**options)
            try:
                connection.connect()
                self._identify(connection, ask(connection, IDENTITY_PROBE))
            except Exception as error:
                connection.disconnect()
                problems.append(error)
            else:
                return connection
        raise problems[0]

    async def connect_async(self, timeout: float) -> Any:
        """Return a new connection, as :meth:`connect`, in an event loop."""
        if self._sentinels is None or self._sentinels.masters():
            addresses = self._addresses(0)
        else:
            addresses = await asyncio.to_thread(self._addresses, timeout)
        problems: list[Exception] = []
        for options in addresses:
            connection = self._make(**options)
            try:
                await connection.connect()
                self._identify(connection, await ask_async(connection, IDENTITY_PROBE))
            except BaseException as error:
                await connection.disconnect(nowait=True)
                if not isinstance(error, Exception):  # a cancellation
                    raise
                problems.append(error)
            else:
                return connection
        raise problems[0]

    def _addresses(self, timeout: float) -> list[dict[str, Any]]:
        """Return options with the store's address, the best ones first."""
        if self._cluster is not None and self._is_any_node:
            # In random order, so that the next attempt does not wait for the same silent node.
            nodes = self._cluster.nodes()
            return [{"host": host, "port": port} for host, port in random.sample(nodes, len(nodes))]
        if self._sentinels is None:
            return [{}]
        masters = self._sentinels.wait_for_masters(timeout)
        return [{"host": host, "port": port} for host, port in masters]

    def _identify(self, connection: Any, replies: Sequence[Any]) -> None:
        """Note a server's history, and check its role if it is said to be a master."""
        info = parse_sections(replies)
        if self._sentinels is not None and info.get("role") == "slave":
            raise NoMasterError(
                f"the Sentinels name {connection.host}:{connection.port}, which is a replica",
                "wait until they have agreed on a master, or read their log",
            )
        if self._cluster is None and is_cluster_node(info):
            raise NoMasterError(
                f"{connection.host}:{connection.port} is a node of a cluster",
                "write redis+cluster:// instead of redis:// in REDIS_URL",
            )
        connection.history = parse_history(info)

    @property
    def may_switch(self) -> bool:
        """Whether the store's address may change: Sentinels name it, or it is any of a cluster."""
        return self._sentinels is not None or self._is_any_node

    def is_current(self, connection: Any) -> bool:
        """Return whether a connection leads to the store; False after a switch of the master."""
        if self._cluster is not None and self._is_any_node:
            known = self._cluster.masters()
            return not known or (connection.host, connection.port) in self._cluster.nodes()
        if self._sentinels is None:
            return True
        masters = self._sentinels.masters()
        return not masters or masters[0] == (connection.host, connection.port)

    def make_unavailable(self, error: BaseException, seconds: float) -> StoreUnavailableError:
        """Return an error with the cause of a failed connection, and its remedy.

        :param error: raised by the attempt to connect.
        :param seconds: the timeout of the attempt.
        """
        if isinstance(error, NoMasterError):
            cause, remedy = str(error), error.remedy
        else:
            cause, remedy = find_cause(error, secure=self._secure)
        message = f"no connection to the store within {seconds * 1000:.0f} ms: {cause}"
        unavailable = StoreUnavailableError(f"{message}: {remedy}" if remedy else message)
        unavailable.remedy = remedy
        unavailable.__cause__ = error
        return unavailable


def ask(connection: Any, commands: Sequence[Command]) -> list[Any]:
    """Send commands on a connection; an error reply is redis-py's exception in the list."""
    connection.send_packed_command(pack_commands(connection, commands))
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(connection.read_response())
        except ResponseError as error:
            replies.append(error)
        except RedisError as error:
            raise _explain_end(replies) or error from error
    return replies


async def ask_async(connection: Any, commands: Sequence[Command]) -> list[Any]:
    """Send commands on a connection of an event loop, as :func:`ask`."""
    await connection.send_packed_command(pack_commands(connection, commands), check_health=False)
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(await connection.read_response())
        except ResponseError as error:
            replies.append(error)
        except RedisError as error:
            raise _explain_end(replies) or error from error
    return replies


def _explain_end(replies: Sequence[Any]) -> Exception | None:
    """Return the error reply after which a server closed a connection, e.g. too many clients."""
    last = replies[-1] if replies else None
    return last if isinstance(last, Exception) else None


def check_fsync(replies: Sequence[Any]) -> None:
    """Check that a server supports ``durability=fsync``.

    With appendfsync everysec, Valkey replies to WAITAOF before the hit is on disk.

    :param replies: the replies to :data:`WAITAOF_PROBE`; an error reply as redis-py's exception.
    :raises DurabilityUnsupportedError: the server does not support it.
    """
    waited, server, policy = replies
    if isinstance(waited, NoPermissionError):
        raise DurabilityUnsupportedError(f"durability=fsync needs WAITAOF: {waited}") from waited
    if isinstance(waited, Exception):
        raise DurabilityUnsupportedError(
            f"durability=fsync needs Redis 7.2 or Valkey 7.2, with appendonly on: {waited}"
        ) from waited
    has_policy = isinstance(policy, list) and len(policy) == 2
    info = server if isinstance(server, bytes) else b""
    is_valkey = b"server_name:valkey" in info
    version = re.search(rb"redis_version:(\d+)", info)
    waits = version is not None and not is_valkey and int(version[1]) >= WAITING_REDIS
    if waits or (has_policy and policy[1] == b"always"):
        return
    if has_policy and is_valkey:
        raise DurabilityUnsupportedError(
            f"durability=fsync needs appendfsync always on Valkey, and it is {policy[1].decode()}: "
            "its WAITAOF answers before the hit is on disk"
        )
    warn_once(
        "durability=fsync needs appendfsync always, or Redis 8, and neither can be checked here: "
        "set appendfsync always, and let this user run INFO and CONFIG GET"
    )


def pack_commands(connection: Any, commands: Sequence[Command]) -> list[bytes]:
    """Return commands encoded for a connection.

    Commands that count (EVALSHA) are encoded here, in a quarter of the time of redis-py, which took
    longer than all other steps of a batch. They are always ASCII.

    Format: https://redis.io/docs/latest/develop/reference/protocol-spec/
    """
    if any(command[0] != "EVALSHA" for command in commands):
        packed: list[bytes] = connection.pack_commands(commands)
        return packed
    parts: list[str] = []
    for command in commands:
        # Calls on a counter differ in their first argument, the identity: the arguments before and
        # after it are mostly those of earlier calls.
        place = 3 + int(command[2])
        identity = str(command[place])
        parts += (
            f"*{len(command)}\r\n",
            _pack_arguments(command[:place]),
            f"${len(identity)}\r\n{identity}\r\n",
            _pack_arguments(command[place + 1 :]),
        )
    return ["".join(parts).encode("ascii")]


@lru_cache(maxsize=4096)
def _pack_arguments(arguments: tuple[str | int, ...]) -> str:
    return "".join([f"${len(text)}\r\n{text}\r\n" for text in map(str, arguments)])
