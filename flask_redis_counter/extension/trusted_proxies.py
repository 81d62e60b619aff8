"""Client address, scheme and path prefix from the X-Forwarded-* headers of trusted proxies."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TypeAlias

from ..config.settings import UNIX, Proxy, is_root_path

#: Returns a request header by lowercase name, or None if it is absent. Repeated headers are
#: joined with commas.
HeaderGetter: TypeAlias = Callable[[str], str | None]

# Some proxies append the client's port, which differs with each connection.
_HOST_PORT = re.compile(r"\[([^\]]*)\](?::[0-9]{1,5})?|([^:]*):[0-9]{1,5}")

# IPv4 clients of a server that only has IPv6 (NAT64, RFC 6052).
_NAT64 = ip_network("64:ff9b::/96")


class TrustedProxies:
    """The proxies whose X-Forwarded-* headers are trusted.

    A peer without an IP address is that of a Unix socket. Servers call it differently:
    ``REMOTE_ADDR`` is empty in this package's server and gunicorn, ``localhost`` in waitress.

    :param proxies: their networks; ``unix``: each peer of a Unix socket.
    """

    def __init__(self, proxies: tuple[Proxy, ...]) -> None:
        self._proxies = proxies

    def client_address(self, peer: str, headers: HeaderGetter) -> str:
        """Return the nearest address that does not belong to a trusted proxy.

        Each proxy appends the address of its peer to ``X-Forwarded-For``. Entries to the left of
        the first untrusted address may be forged.

        :param peer: address of the connection's other end.
        """
        hops = _split_list(headers("x-forwarded-for"))
        while hops and _is_in(peer, self._proxies):
            host_port = _HOST_PORT.fullmatch(hops[-1])
            address = host_port[1] or host_port[2] if host_port else hops[-1]
            if not _is_address(address):
                break
            peer = address
            hops.pop()
        return peer

    def scheme(self, peer: str, headers: HeaderGetter) -> str | None:
        """Return ``http`` or ``https`` from ``X-Forwarded-Proto``.

        :param peer: address of the connection's other end.
        :returns: None if the peer is not trusted, or the header is absent or has another value.
        """
        if not _is_in(peer, self._proxies):
            return None
        scheme = _split_list(headers("x-forwarded-proto"))[-1].lower()
        return scheme if scheme in ("http", "https") else None

    def prefix(self, peer: str, headers: HeaderGetter) -> str | None:
        """Return the path prefix that a proxy removed from the request (``X-Forwarded-Prefix``).

        :param peer: address of the connection's other end.
        :returns: None if the peer is not trusted, or the header is absent or not a plain path.
        """
        if not _is_in(peer, self._proxies):
            return None
        # The nearest proxy knows the whole prefix; entries further left may be the client's own.
        path = _split_list(headers("x-forwarded-prefix"))[-1].rstrip("/")
        return path if is_root_path(path) else None


@lru_cache(maxsize=4096)
def client_key(address: str, ipv6_prefix: int) -> str:
    """Return the key that identifies a client: IPv4 address or IPv6 network.

    A client has at least a /64 of IPv6, and changes its address within it. Spelling, zone and
    IPv4-mapped notation make no difference.

    :param address: returned unchanged if it is not an IP address, such as a Unix socket's.
    :param ipv6_prefix: number of significant bits of an IPv6 address.
    """
    if not _is_address(address):
        return address
    client = ip_address(address.partition("%")[0])
    if isinstance(client, IPv6Address):
        if client.ipv4_mapped is not None:
            return str(client.ipv4_mapped)
        if client in _NAT64:
            return str(IPv4Address(client.packed[-4:]))
        return str(ip_network((client.packed, ipv6_prefix), strict=False)).removesuffix("/128")
    return str(client)


def _split_list(header: str | None) -> list[str]:
    return [word.strip() for word in (header or "").split(",")]


@lru_cache(maxsize=4096)
def _is_in(address: str, proxies: tuple[Proxy, ...]) -> bool:
    if not _is_address(address):
        return UNIX in proxies
    client = ip_address(address)
    client = getattr(client, "ipv4_mapped", None) or client
    return any(proxy != UNIX and client in proxy for proxy in proxies)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
