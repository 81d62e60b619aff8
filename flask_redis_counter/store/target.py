"""The target of a counter's connections: a URL or a ready client, as redis-py's arguments."""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from ssl import CERT_NONE
from types import ModuleType
from typing import Any

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..errors import ConfigurationError
from .cluster import ASK_TIMEOUT as CLUSTER_ASK_TIMEOUT
from .cluster import Cluster
from .sentinels import ASK_TIMEOUT, Sentinels
from .url import Address, check_url, parse_cluster_url, parse_sentinel_url

_CERT_REQS = ("none", "optional", "required")

# Options of connections to the master that are also those of connections to the Sentinels.
_SHARED_OPTIONS = ("socket_keepalive", "client_name")
_TLS_OPTIONS = (*_SHARED_OPTIONS, "ssl_")


@dataclass(frozen=True, slots=True)
class Target:
    """Arguments for connections to a store.

    :ivar connection_class: class of redis-py.
    :ivar kwargs: its arguments; without host and port if there are Sentinels.
    :ivar sentinels: the Sentinels that name the store's address; None: ``kwargs`` has it.
    :ivar cluster: the cluster, or the one that the address is a node of.
    """

    connection_class: Any
    kwargs: dict[str, Any]
    sentinels: Sentinels | None = None
    cluster: Cluster | None = None

    def at(self, address: Address) -> Target:
        """Return the target of a node of the cluster."""
        host, port = address
        return replace(self, kwargs={**self.kwargs, "host": host, "port": port})


def parse_target(target: object, library: ModuleType) -> Target:
    """Return the arguments for a URL, for a client of the library, or for a ready target.

    :param library: :mod:`redis` or :mod:`redis.asyncio`.
    :raises ConfigurationError: the URL is invalid, or the target is not a client of the library.
    """
    if isinstance(target, Target):
        return target
    if isinstance(target, str):
        found = _parse_url(check_url(target), library)
    elif isinstance(target, library.Redis):
        found = _parse_pool(target.connection_pool, library)
    elif isinstance(target, library.RedisCluster):
        found = _parse_cluster(target, library)
    else:
        problem = (
            f"{_describe_type(target)} is not a URL, a {library.__name__}.Redis or a "
            f"{library.__name__}.RedisCluster"
        )
        raise ConfigurationError("store", problem + _remedy_for(target))
    _check_options(found.kwargs, secure=issubclass(found.connection_class, library.SSLConnection))
    return found


def thread_target(client: redis.asyncio.Redis | redis.asyncio.RedisCluster) -> Target | None:
    """Return the target of a client for asyncio, for threads; None if its class has no twin."""
    found = parse_target(client, redis.asyncio)
    twin = _THREAD_CLASSES.get(found.connection_class)
    return None if twin is None else replace(found, connection_class=twin)


_THREAD_CLASSES: dict[type, type] = {
    redis.asyncio.Connection: redis.Connection,
    redis.asyncio.SSLConnection: redis.SSLConnection,
    redis.asyncio.UnixDomainSocketConnection: redis.UnixDomainSocketConnection,
}


def _parse_url(url: str, library: ModuleType) -> Target:
    if url.startswith("valkey"):
        url = f"redis{url.removeprefix('valkey')}"
    if (nodes := parse_cluster_url(url)) is not None:
        pool = _pool_from_url(nodes.store_url, library)
        return _make_cluster_target(pool.connection_class, _own_options(pool), nodes.nodes, library)
    if (parts := parse_sentinel_url(url)) is None:
        return _parse_pool(_pool_from_url(url, library), library)
    pool = _pool_from_url(parts.store_url, library)
    kwargs = _without(_own_options(pool), _ADDRESS)
    _check_options(kwargs, secure=issubclass(pool.connection_class, library.SSLConnection))
    shared = _TLS_OPTIONS if parts.secure else _SHARED_OPTIONS
    options = {name: it for name, it in kwargs.items() if name.startswith(shared)}
    options |= {"username": parts.username, "password": parts.password}
    sentinels = _share_sentinels(
        ({**options, "host": host, "port": port} for host, port in parts.sentinels),
        parts.service,
        secure=parts.secure,
    )
    return Target(pool.connection_class, kwargs, sentinels)


_ADDRESS = ("host", "port")

# Options of a client of a cluster that its connections take.
_NODE_OPTIONS = ("username", "password", "credential_provider", "client_name", "socket_keepalive")


def _parse_cluster(client: Any, library: ModuleType) -> Target:
    manager = client.nodes_manager
    kwargs = {
        name: option
        for name, option in manager.connection_kwargs.items()
        if name in _NODE_OPTIONS or name.startswith("ssl_")
    }
    nodes = [*manager.startup_nodes.values(), *manager.nodes_cache.values()]
    options = manager.connection_kwargs
    is_secure = bool(options.get("ssl")) or options.get("connection_class") is library.SSLConnection
    connection_class = library.SSLConnection if is_secure else library.Connection
    addresses = dict.fromkeys((node.host, int(node.port)) for node in nodes)
    return _make_cluster_target(connection_class, kwargs, tuple(addresses), library)


def _make_cluster_target(
    connection_class: Any,
    kwargs: dict[str, Any],
    nodes: Sequence[Address],
    library: ModuleType,
) -> Target:
    kwargs = _without(kwargs, (*_ADDRESS, "db"))
    is_secure = issubclass(connection_class, library.SSLConnection)
    _check_options(kwargs, secure=is_secure)
    wanted = ("username", "password", "credential_provider", *_SHARED_OPTIONS, "ssl_")
    options = {name: option for name, option in kwargs.items() if name.startswith(wanted)}
    return Target(
        connection_class, kwargs, cluster=_share_cluster(options, nodes, secure=is_secure)
    )


def _pool_from_url(url: str, library: ModuleType) -> Any:
    try:
        return library.ConnectionPool.from_url(url)
    except (ValueError, TypeError):  # whose text may contain part of a password
        pass
    raise ConfigurationError(
        "REDIS_URL", "its value has an option after the ? that redis-py cannot parse"
    )


def _parse_pool(pool: Any, library: ModuleType) -> Target:
    kwargs = _own_options(pool)
    if not hasattr(pool, "sentinel_manager"):
        return Target(pool.connection_class, kwargs)
    if not pool.is_master:
        raise ConfigurationError("store", "is a client for replicas: give Sentinel.master_for()")
    # A pool of Sentinel.master_for(): its connections ask the Sentinels one after the other, with
    # redis-py's retries.
    kwargs = _without(kwargs, (*_ADDRESS, "connection_pool"))
    is_secure = issubclass(pool.connection_class, library.SSLConnection)
    sentinel_pools = [client.connection_pool for client in pool.sentinel_manager.sentinels]
    sentinels = _share_sentinels(
        (_sentinel_options(sentinel.connection_kwargs) for sentinel in sentinel_pools),
        pool.service_name,
        secure=any(issubclass(it.connection_class, library.SSLConnection) for it in sentinel_pools),
    )
    return Target(library.SSLConnection if is_secure else library.Connection, kwargs, sentinels)


def _own_options(pool: Any) -> dict[str, Any]:
    """Return the options of a pool's connections, without those that redis-py 8 adds for itself."""
    return {
        name: option
        for name, option in pool.connection_kwargs.items()
        if not name.startswith(("maint_notifications_", "orig_", "himport_"))
    }


def _without(options: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: option for name, option in options.items() if name not in names}


def _sentinel_options(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that count for a connection, of those of a client of a Sentinel."""
    wanted = ("host", "port", "username", "password", "credential_provider")
    return {name: it for name, it in kwargs.items() if name in wanted or name.startswith("ssl_")}


# Weak, so that the Sentinels of counters that are gone are not asked any more.
_shared: weakref.WeakValueDictionary[str, Sentinels] = weakref.WeakValueDictionary()
_shared_clusters: weakref.WeakValueDictionary[str, Cluster] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def _share_sentinels(
    options: Iterable[Mapping[str, Any]], service: str, *, secure: bool
) -> Sentinels:
    """Return the Sentinels with these options: one object for all counters of a process."""
    connection_class = redis.SSLConnection if secure else redis.Connection
    given = [dict(each) for each in options]
    key = repr((secure, service, given))
    with _lock:
        found = _shared.get(key)
        if found is None:
            connectors = [
                partial(
                    connection_class,
                    **each,
                    socket_timeout=ASK_TIMEOUT,
                    socket_connect_timeout=ASK_TIMEOUT,
                    retry=Retry(NoBackoff(), 0),
                    protocol=2,
                )
                for each in given
            ]
            names = [f"{each['host']}:{each['port']}" for each in given]
            found = _shared[key] = Sentinels(connectors, names, service, secure=secure)
        return found


def _share_cluster(
    options: Mapping[str, Any], nodes: Sequence[Address], *, secure: bool
) -> Cluster:
    """Return the cluster with these options: one object for all counters of a process."""
    key = repr((secure, sorted(nodes), sorted(options.items(), key=repr)))
    with _lock:
        found = _shared_clusters.get(key)
        if found is None:
            connect = partial(
                redis.SSLConnection if secure else redis.Connection,
                **options,
                socket_timeout=CLUSTER_ASK_TIMEOUT,
                socket_connect_timeout=CLUSTER_ASK_TIMEOUT,
                retry=Retry(NoBackoff(), 0),
                protocol=2,
            )
            found = _shared_clusters[key] = Cluster(
                lambda address: connect(host=address[0], port=address[1]), nodes, secure=secure
            )
        return found


def _describe_type(target: object) -> str:
    """Return a target's type, without its value, which may contain a password."""
    return f"a {type(target).__module__}.{type(target).__qualname__}".replace("builtins.", "")


def _remedy_for(target: object) -> str:
    if type(target).__module__.partition(".")[0] == "valkey":
        return ": give its URL, as valkey://localhost:6379/0"
    if hasattr(target, "master_for"):
        return ": give the client that its method master_for() returns"
    if hasattr(target, "connection_kwargs"):
        return ": wrap the pool, as in redis.Redis(connection_pool=pool)"
    if hasattr(target, "connection_pool"):
        return ": redis.Redis is for RedisCounter, redis.asyncio.Redis for AsyncRedisCounter"
    return ": decode it" if isinstance(target, bytes) else ""


def _check_options(kwargs: dict[str, Any], *, secure: bool) -> None:
    """Check options for TLS that are known to be invalid.

    :raises ConfigurationError: an option is invalid.
    """
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
    if flag in ("none", CERT_NONE):
        # redis-py 6.0 raises a ValueError otherwise: without a certificate no name is checked.
        kwargs["ssl_check_hostname"] = False


def describe_option(error: Exception) -> str:
    """Return a message that names the option rejected by redis-py, without its value."""
    found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    return f"redis-py has no option {found[1]}" if found else "redis-py rejects one of its options"
