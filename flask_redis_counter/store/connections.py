"""How connections to the store are made: redis-py's own, but without its retries.

redis-py's clients repeat a command whose reply was lost, and so count it twice. Only its
connections are used here, whoever made the client.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
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

#: Asked on a new connection for durability=fsync. Nothing was written on it yet, so a server that
#: knows WAITAOF answers at once.
WAITAOF_PROBE: tuple[Command, ...] = (
    ("WAITAOF", 1, 0, 1),
    ("INFO", "server"),
    ("CONFIG GET", "appendfsync"),
)

#: The first Redis on which WAITAOF was seen to wait for the disk whatever appendfsync is.
WAITING_REDIS = 8

#: The share of a deadline that one connection, and one answer, may take: both fit in, and a
#: second attempt where the first one got no answer.
ATTEMPT_SHARE = 0.4


class ConnectionFactory:
    """Makes connections to one store, and says why one could not be made.

    :param target: a URL (``redis://``, ``rediss://``, ``unix://``, ``valkey://``, ``valkeys://``)
        or a ready client, whose address and credentials are taken over; the client itself is not
        touched.
    :param library: :mod:`redis` or :mod:`redis.asyncio`.
    :param timeout: seconds that it may take to be connected, and the store to answer; None:
        who uses it sees to that.
    :raises ConfigurationError: the URL is malformed, or the client is none of the library's.
    """

    def __init__(self, target: object, library: ModuleType, timeout: float | None) -> None:
        pool = _pool_of(target, library)
        kwargs = {
            name: value
            for name, value in pool.connection_kwargs.items()
            # What redis-py 8 adds for its own pools.
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
            # redis-py 6.0 raises a ValueError here: OpenSSL checks no name without a certificate.
            kwargs.setdefault("ssl_check_hostname", False)
        self._connect = partial(pool.connection_class, **kwargs)
        problem = None
        try:
            self._connect()
        except (TypeError, ValueError, RedisError) as error:  # a wrong option in the URL's query
            problem = _option_in(error)
        if problem is not None:
            raise ConfigurationError("REDIS_URL", problem)

    def __call__(self) -> Any:
        """Return a connection, not yet connected."""
        return self._connect()

    def unavailable(self, error: BaseException, seconds: float) -> StoreUnavailableError:
        """Return an error that says why there is no connection, and what to do about it."""
        said, remedy = find_cause(error, secure=self._secure)
        text = f"no connection to the store within {seconds * 1000:.0f} ms: {said}"
        unavailable = StoreUnavailableError(f"{text}: {remedy}" if remedy else text)
        unavailable.remedy = remedy
        unavailable.__cause__ = error
        return unavailable


def _pool_of(target: object, library: ModuleType) -> Any:
    if isinstance(target, library.Redis):
        return target.connection_pool
    if not isinstance(target, str):
        raise ConfigurationError(
            "store",
            f"{_kind_of(target)} is not a URL or a {library.__name__}.Redis{_remedy_for(target)}",
        )
    url = check_url(target)
    if url.startswith("valkey"):
        url = f"redis{url.removeprefix('valkey')}"
    problem = None
    try:
        return library.ConnectionPool.from_url(url)
    except (ValueError, TypeError):  # its text may have a part of a password
        problem = "its value has an option after the ? that redis-py does not read"
    raise ConfigurationError("REDIS_URL", problem)


def _kind_of(target: object) -> str:
    """Return what a target is; never what it holds, which may be a password."""
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
    """Raise a :class:`ConfigurationError` for an option of TLS that is known to be wrong."""
    options = [name for name in kwargs if name.startswith("ssl_")]
    if options and not secure:
        raise ConfigurationError("REDIS_URL", f"{options[0]} is for TLS: write rediss://")
    flag = kwargs.get("ssl_cert_reqs")
    if isinstance(flag, str) and flag not in _CERT_REQS:
        words = ", ".join(_CERT_REQS)
        raise ConfigurationError(
            "REDIS_URL", f"ssl_cert_reqs is none of {words}: write none for CERT_NONE and None"
        )
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if (path := kwargs.get(name)) is not None:
            try:
                Path(path).open("rb").close()
            except OSError as error:
                problem = f"{name} names a file that cannot be read, {path}: {error.strerror}"
                raise ConfigurationError("REDIS_URL", problem) from None


def _option_in(error: Exception) -> str:
    """Return the option that redis-py does not take, without any value."""
    found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    return f"redis-py has no option {found[1]}" if found else "redis-py refuses one of its options"


def check_fsync(answers: Sequence[Any]) -> None:
    """Check that a store keeps what ``durability=fsync`` promises.

    With appendfsync everysec, Valkey answers WAITAOF before the disk has the hit.

    :param answers: to :data:`WAITAOF_PROBE`, an error in the place of an answer that is one.
    :raises DurabilityUnsupportedError: it does not.
    """
    waited, server, policy = answers
    if isinstance(waited, NoPermissionError):
        raise DurabilityUnsupportedError(f"durability=fsync needs WAITAOF: {waited}") from waited
    if isinstance(waited, Exception):
        raise DurabilityUnsupportedError(
            f"durability=fsync needs Redis 7.2 or Valkey 7.2, with appendonly on: {waited}"
        ) from waited
    known = isinstance(policy, list) and len(policy) == 2
    told = server if isinstance(server, bytes) else b""
    valkey = b"server_name:valkey" in told
    version = re.search(rb"redis_version:(\d+)", told)
    waits = version is not None and not valkey and int(version[1]) >= WAITING_REDIS
    if waits or (known and policy[1] == b"always"):
        return
    if known and valkey:
        raise DurabilityUnsupportedError(
            f"durability=fsync needs appendfsync always on Valkey, and it is {policy[1].decode()}: "
            "its WAITAOF answers before the hit is on disk"
        )
    warn_once(
        "durability=fsync is certain with appendfsync always, or on Redis 8, and here it cannot be "
        "seen: set it, and let this user run INFO and CONFIG GET"
    )


def pack_commands(connection: Any, commands: Sequence[Command]) -> list[bytes]:
    """Return commands as they go over a connection.

    Those that count are packed here, in a quarter of the time that redis-py takes: that was more
    than all else that is done for a batch. They are ASCII, whatever is asked for.

    Format: https://redis.io/docs/latest/develop/reference/protocol-spec/
    """
    if any(command[0] != "EVALSHA" for command in commands):
        packs: list[bytes] = connection.pack_commands(commands)
        return packs
    parts: list[str] = []
    for command in commands:
        parts.append(f"*{len(command)}\r\n")
        for argument in map(str, command):
            parts.append(f"${len(argument)}\r\n{argument}\r\n")
    return ["".join(parts).encode("ascii")]
