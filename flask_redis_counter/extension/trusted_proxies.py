"""What proxies say of those who ask through them, and whose word is taken."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TypeAlias

from ..config.settings import Network, is_root_path

#: Returns a request's header, None where there is none; several of one name with commas between.
HeaderGetter: TypeAlias = Callable[[str], str | None]

# Some proxies also say from which port they were asked, which is another one each time.
_HOST_PORT = re.compile(r"\[([^\]]*)\](?::[0-9]{1,5})?|([^:]*):[0-9]{1,5}")

# The IPv4 clients of a server that has IPv6 alone (RFC 6052).
_NAT64 = ip_network("64:ff9b::/96")


class TrustedProxies:
    """The proxies that are believed, by their addresses.

    :param networks: where they are.
    """

    def __init__(self, networks: tuple[Network, ...]) -> None:
        self._networks = networks

    def client(self, peer: str, headers: HeaderGetter) -> str:
        """Return a client's address: the nearest one that no proxy of ours has.

        Each proxy adds on the right of ``X-Forwarded-For`` whom it was asked by; what lies
        further left than the first stranger may be anybody's lie.

        :param peer: the address that the request came from.
        """
        hops = _split_list(headers("x-forwarded-for"))
        while hops and _is_in(peer, self._networks):
            place = _HOST_PORT.fullmatch(hops[-1])
            address = place[1] or place[2] if place else hops[-1]
            if not _is_address(address):
                break
            peer = address
            hops.pop()
        return peer

    def scheme(self, peer: str, headers: HeaderGetter) -> str | None:
        """Return by which scheme a proxy was asked, as ``X-Forwarded-Proto`` has it, if it does.

        :param peer: the address that the request came from.
        """
        if not _is_in(peer, self._networks):
            return None
        scheme = _split_list(headers("x-forwarded-proto"))[-1].lower()
        return scheme if scheme in ("http", "https") else None

    def prefix(self, peer: str, headers: HeaderGetter) -> str | None:
        """Return the path that a proxy has removed from the request (``X-Forwarded-Prefix``).

        :param peer: the address that the request came from.
        :returns: None where no trusted proxy names one, or where it is no plain path.
        """
        if not _is_in(peer, self._networks):
            return None
        # The nearest proxy knows the whole; what lies further left may be the client's own.
        path = _split_list(headers("x-forwarded-prefix"))[-1].rstrip("/")
        return path if is_root_path(path) else None


@lru_cache(maxsize=4096)
def client_key(address: str, ipv6_prefix: int) -> str:
    """Return what tells a client from others: its IPv4 address, or the network of its IPv6 address.

    One client has at least a /64 of IPv6, and changes its address there. The spelling, a zone and
    an IPv4 address that is written as IPv6 make no difference.

    :param address: what is not an address, as of a Unix socket, is returned as it is.
    :param ipv6_prefix: bits of an IPv6 address that count.
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
def _is_in(address: str, networks: tuple[Network, ...]) -> bool:
    if not _is_address(address):
        return False
    client = ip_address(address)
    client = getattr(client, "ipv4_mapped", None) or client
    return any(client in network for network in networks)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
