"""Connections to the store: those of redis-py, without its retries.

redis-py's clients repeat a command whose reply was lost, which would count a hit twice. So only
redis-py's connections are used here, even if a client is given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from ssl import CERT_NONE
from types import ModuleType
from typing import Any, TypeAlias

from redis.backoff import NoBackoff
from redis.exceptions import (
    NoPermissionError,
    RedisError,
)

from ..errors import (
    ConfigurationError,
    DurabilityUnsupportedError,
    StoreUnavailableError,
)
from ..log_throttle import warn_once
from ..validation import check_url
from .causes import find_cause

Command: TypeAlias = Sequence[str | bytes | int]

_CERT_REQS = ("none", "optional", "required")

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
    """Creates connections to one store, and errors that explain why connecting failed.

    :param target: a URL (``redis://``, ``rediss://``, ``unix://``, ``valkey://``, ``valkeys://``)
        or a client of redis-py, whose address and credentials are copied; the client itself is
        not changed.
    :param library: :mod:`redis` or :mod:`redis.asyncio`.
    :param timeout: seconds that connecting and each reply may take; None: the caller has timeouts.
    :raises ConfigurationError: the URL is invalid, or the target is not a client of the library.
    """

    def __init__(self, target: object, library: ModuleType, timeout: float | None) -> None:
        pool = _redis_pool(target, library)
        kwargs = {
            name: value
            for name, value in pool.connection_kwargs.items()
            # Internal options that redis-py 8 adds for its pools.
            if not name.startswith(("maint_notifications_", "orig_", "himport_"))
        }
        kwargs |= {
            "retry": library.retry.Retry(NoBackoff(), 0),
            "retry_on_timeout": False,
            "retry_on_error": [],
            "socket_timeout": timeout,
            "health_check_interval": 0,
            "decode_responses": False,
            "protocol": 2,
        }
        if not issubclass(pool.connection_class, library.UnixDomainSocketConnection):
            kwargs["socket_connect_timeout"] = timeout
        self._secure = issubclass(pool.connection_class, library.SSLConnection)
        _check_options(kwargs, secure=self._secure)
        if kwargs.get("ssl_cert_reqs") in ("none", CERT_NONE):
            # redis-py 6.0 raises a ValueError otherwise: without a certificate no name is checked.
            kwargs.setdefault("ssl_check_hostname", False)
        self._connect = partial(pool.connection_class, **kwargs)
        problem = None
        try:
            self._connect()
        except (TypeError, ValueError, RedisError) as error:  # an invalid option in the URL's query
            problem = _describe_option(error)
        if problem is not None:
            raise ConfigurationError("REDIS_URL", problem)

    def __call__(self) -> Any:
        """Return a connection, not yet connected."""
        return self._connect()

    def make_unavailable(self, error: BaseException, seconds: float) -> StoreUnavailableError:
        """Return an error with the cause of a failed connection, and its remedy.

        :param error: raised by the attempt to connect.
        :param seconds: the timeout of the attempt.
        """
        cause, remedy = find_cause(error, secure=self._secure)
        message = f"no connection to the store within {seconds * 1000:.0f} ms: {cause}"
        unavailable = StoreUnavailableError(f"{message}: {remedy}" if remedy else message)
        unavailable.remedy = remedy
        unavailable.__cause__ = error
        return unavailable


def _redis_pool(target: object, library: ModuleType) -> Any:
    if isinstance(target, library.Redis):
        return target.connection_pool
    if not isinstance(target, str):
        problem = f"{_describe_type(target)} is not a URL or a {library.__name__}.Redis"
        raise ConfigurationError("store", problem + _remedy_for(target))
    url = check_url(target)
    if url.startswith("valkey"):
        url = f"redis{url.removeprefix('valkey')}"
    try:
        return library.ConnectionPool.from_url(url)
    except (ValueError, TypeError):  # whose text may contain part of a password
        pass
    raise ConfigurationError(
        "REDIS_URL", "its value has an option after the ? that redis-py cannot parse"
    )


def _describe_type(target: object) -> str:
    """Return a target's type, without its value, which may contain a password."""
    return f"a {type(target).__module__}.{type(target).__qualname__}".replace("builtins.", "")


def _remedy_for(target: object) -> str:
    if type(target).__module__.partition(".")[0] == "valkey":
        return ": give its URL, as valkey://localhost:6379/0"
    if hasattr(target, "connection_kwargs"):
        return ": wrap the pool, as in redis.Redis(connection_pool=pool)"
    if hasattr(target, "connection_pool"):
        return ": redis.Redis is for RedisCounter, redis.asyncio.Redis for AsyncRedisCounter"
    return ": decode it" if isinstance(target, bytes) else ""


def _check_options(kwargs: Mapping[str, Any], *, secure: bool) -> None:
    """Raise :class:`ConfigurationError` for a TLS option that is known to be invalid."""
    options = [name for name in kwargs if name.startswith("ssl_")]
    if options and not secure:
        raise ConfigurationError("REDIS_URL", f"{options[0]} is for TLS: write rediss://")
    flag = kwargs.get("ssl_cert_reqs")
    if isinstance(flag, str) and flag not in _CERT_REQS:
        known = ", ".join(_CERT_REQS)
        raise ConfigurationError(
            "REDIS_URL", f"ssl_cert_reqs is not one of {known}: write none for CERT_NONE and None"
        )
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if (path := kwargs.get(name)) is not None:
            try:
                Path(path).open("rb").close()
            except OSError as error:
                problem = f"{name} names a file that cannot be read, {path}: {error.strerror}"
                raise ConfigurationError("REDIS_URL", problem) from None


def _describe_option(error: Exception) -> str:
    """Return a message that names the option rejected by redis-py, without its value."""
    found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    return f"redis-py has no option {found[1]}" if found else "redis-py rejects one of its options"


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
        parts.append(f"*{len(command)}\r\n")
        parts += map(_bulk_string, command)
    return ["".join(parts).encode("ascii")]


# Most arguments are those of the last batch: digests, keys, the hour.
@lru_cache(maxsize=4096)
def _bulk_string(argument: str | int) -> str:
    text = str(argument)
    return f"${len(text)}\r\n{text}\r\n"
