"""URLs of stores: their check, and the parts of a URL of Sentinels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from redis.connection import parse_url

from ..errors import ConfigurationError

#: Host and port.
Address: TypeAlias = tuple[str, int]

#: Port of a Sentinel whose URL has none.
SENTINEL_PORT = 26379

#: Port of a server whose URL has none.
REDIS_PORT = 6379

_SCHEMES = ("redis", "rediss", "unix", "valkey", "valkeys")
_SENTINEL_SCHEME = re.compile(r"(rediss?|valkeys?)\+sentinel")
_CLUSTER_SCHEME = re.compile(r"(rediss?|valkeys?)\+cluster")
_HOST = re.compile(r"(?P<host>[^:\[\]@/]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
_AUTHORITY = re.compile(r"([a-z+]+)://([^/?#]*)", re.IGNORECASE)
_WORDS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class SentinelURL:
    """Parts of a URL of Sentinels.

    :ivar sentinels: host and port of each.
    :ivar service: name of the service whose master is the store.
    :ivar store_url: URL of the store itself, with a stand-in for its address.
    :ivar username: user name for the Sentinels.
    :ivar password: password for the Sentinels.
    :ivar secure: whether the Sentinels speak TLS.
    """

    sentinels: tuple[Address, ...]
    service: str
    store_url: str
    username: str | None
    password: str | None
    secure: bool


@dataclass(frozen=True, slots=True)
class ClusterURL:
    """Parts of the URL of a cluster.

    :ivar nodes: host and port of some of its nodes.
    :ivar store_url: URL of a node, with a stand-in for its address.
    """

    nodes: tuple[Address, ...]
    store_url: str


def split_url(url: str) -> SplitResult:
    """Return the parts of a URL, which may have several hosts.

    Some versions of Python reject an IPv6 address that is not the first of them.

    :raises ValueError: it is malformed.
    """
    found = _AUTHORITY.match(url)
    credentials, at, hosts = ("", "", "") if found is None else found[2].rpartition("@")
    if found is None or "," not in hosts:
        return urlsplit(url)
    parts = urlsplit(f"{found[1]}://{credentials}{at}localhost{url[found.end() :]}")
    return parts._replace(netloc=found[2])


def check_url(url: str) -> str:
    """Return a store's URL, or raise :class:`ConfigurationError`, whose message omits the URL."""
    problem = _find_problem(url)
    if problem is not None:
        raise ConfigurationError("REDIS_URL", f"its value {problem}")
    return url


def parse_sentinel_url(url: str) -> SentinelURL | None:
    """Return the parts of a URL of Sentinels that :func:`check_url` accepts; None for another.

    Form: ``redis+sentinel://[user:password@]host:port,host:port/service[/database][?options]``.
    ``rediss+sentinel`` is for TLS. User and password are those of the store. The options are those
    of redis-py, and ``sentinel_username``, ``sentinel_password`` and ``sentinel_tls`` (``true`` or
    ``false``; by default as for the store).
    """
    parts = split_url(url)
    found = _SENTINEL_SCHEME.fullmatch(parts.scheme)
    if found is None:
        return None
    credentials, at, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.lstrip("/").partition("/")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    username = options.pop("sentinel_username", None)
    password = options.pop("sentinel_password", None)
    scheme = found[1].replace("valkey", "redis")
    secure = _WORDS.get(options.pop("sentinel_tls", ""), scheme == "rediss")
    store_url = f"{scheme}://{credentials}{at}localhost/{database}"
    return SentinelURL(
        sentinels=tuple(_split_host(host) for host in hosts.split(",")),
        service=unquote(service),
        store_url=f"{store_url}?{urlencode(options)}" if options else store_url,
        username=username or None,
        password=password or None,
        secure=secure,
    )


def parse_cluster_url(url: str) -> ClusterURL | None:
    """Return the parts of a URL of a cluster that :func:`check_url` accepts; None for another.

    Form: ``redis+cluster://[user:password@]host:port,host:port[?options]``, with some of its nodes.
    ``rediss+cluster`` is for TLS. The options are those of redis-py.
    """
    parts = split_url(url)
    found = _CLUSTER_SCHEME.fullmatch(parts.scheme)
    if found is None:
        return None
    credentials, at, hosts = parts.netloc.rpartition("@")
    store_url = f"{found[1].replace('valkey', 'redis')}://{credentials}{at}localhost/0"
    return ClusterURL(
        nodes=tuple(_split_host(host, REDIS_PORT) for host in hosts.split(",")),
        store_url=f"{store_url}?{parts.query}" if parts.query else store_url,
    )


def describe_address(url: str) -> str:
    """Return a URL's address and database without credentials: ``localhost:6379/0``.

    For Sentinels it is their addresses with the service: it stays the same after a failover.
    """
    if (parts := parse_sentinel_url(url)) is not None:
        hosts = ",".join(f"{host}:{port}" for host, port in parts.sentinels)
        database = urlsplit(parts.store_url).path.strip("/") or "0"
        return f"{hosts}/{parts.service}/{database}"
    if (cluster := parse_cluster_url(url)) is not None:
        return ",".join(f"{host}:{port}" for host, port in cluster.nodes)
    options = parse_url(f"redis{url.removeprefix('valkey')}" if url.startswith("valkey") else url)  # type: ignore[no-untyped-call]
    place = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
    return f"{place}/{options.get('db', 0)}"


def _split_host(text: str, port: int = SENTINEL_PORT) -> Address:
    found = _HOST.fullmatch(text)
    assert found is not None  # noqa: S101  # check_url() has accepted it
    return found["host"].strip("[]"), int(found["port"] or port)


def _find_problem(url: str) -> str | None:
    try:
        parts = split_url(url)
    except ValueError:
        # The ValueError's text is not shown: it may contain the password.
        return "is not a URL: write [ as %5B and ] as %5D in a password"
    has_sentinels = _SENTINEL_SCHEME.fullmatch(parts.scheme) is not None
    is_cluster = _CLUSTER_SCHEME.fullmatch(parts.scheme) is not None
    if parts.scheme not in _SCHEMES and not has_sentinels and not is_cluster:
        return (
            "does not begin with redis://, rediss:// (TLS), valkey://, valkeys://, unix://, "
            "redis+sentinel://, rediss+sentinel://, redis+cluster:// or rediss+cluster://"
        )
    if "@" not in parts.netloc and parts.scheme != "unix":
        option = parts.query.partition("=")[0]
        for mark, rest in (("/", parts.path), ("?", option), ("#", parts.fragment)):
            if "@" in rest:
                return f"has a {mark} in its user name or password: write {quote(mark, safe='')}"
    if parts.scheme == "unix":
        return None if parts.path else "has no socket path"
    if has_sentinels:
        return _find_sentinel_problem(parts.netloc, parts.path, parts.query)
    if is_cluster:
        return _find_cluster_problem(parts.netloc, parts.path)
    if not parts.hostname:
        return "has no host"
    if "," in parts.netloc.rpartition("@")[2]:
        return (
            "has several hosts: write redis+sentinel:// for Sentinels, redis+cluster:// for the "
            "nodes of a cluster"
        )
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        return "has a port that is not an integer from 1 to 65535"
    # redis-py uses database 0 if it cannot parse the number.
    if not re.fullmatch(r"/?[0-9]*", parts.path):
        return "has a database that is not an integer"
    return None


def _find_sentinel_problem(netloc: str, path: str, query: str) -> str | None:
    form = "is not a list of Sentinels, host:port,host:port, before the name of the service"
    if (problem := _find_host_problem(netloc, form)) is not None:
        return problem
    service, _, database = path.lstrip("/").partition("/")
    if not service:
        return "has no name of a service: write redis+sentinel://host:26379/SERVICE"
    if not re.fullmatch("[0-9]*", database):
        return "has a database that is not an integer"
    options = dict(parse_qsl(query, keep_blank_values=True))
    if options.get("sentinel_tls", "true") not in _WORDS:
        return "has a sentinel_tls that is not true or false"
    return None


def _find_cluster_problem(netloc: str, path: str) -> str | None:
    form = "is not a list of nodes, host:port,host:port"
    if (problem := _find_host_problem(netloc, form)) is not None:
        return problem
    if path.strip("/") not in ("", "0"):
        return "has a database, and a cluster has only database 0"
    return None


def _find_host_problem(netloc: str, form: str) -> str | None:
    for host in netloc.rpartition("@")[2].split(","):
        found = _HOST.fullmatch(host)
        if found is None:
            return form
        if not 0 < int(found["port"] or 1) < 65536:
            return "has a port that is not an integer from 1 to 65535"
    return None
