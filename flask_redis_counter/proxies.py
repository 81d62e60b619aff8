"""What proxies say of those who ask through them, and whose word is taken."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address
from typing import TypeAlias

from .settings import Network, is_root_path

#: Returns a request's header, None where there is none; several of one name with commas between.
Headers: TypeAlias = Callable[[str], str | None]

# Some proxies also say from which port they were asked, which is another one each time.
_PLACE = re.compile(r"\[([^\]]*)\](?::[0-9]{1,5})?|([^:]*):[0-9]{1,5}")


class Proxies:
    """The proxies that are believed, by their addresses.

    :param networks: where they are.
    """

    def __init__(self, networks: tuple[Network, ...]) -> None:
        self._networks = networks

    def client(self, peer: str, headers: Headers) -> str:
        """Return a client's address: the nearest one that no proxy of ours has.

        Each proxy adds on the right of ``X-Forwarded-For`` whom it was asked by; what lies
        further left than the first stranger may be anybody's lie.

        :param peer: the address that the request came from.
        """
        hops = _listed(headers("x-forwarded-for"))
        while hops and _is_in(peer, self._networks):
            place = _PLACE.fullmatch(hops[-1])
            address = place[1] or place[2] if place else hops[-1]
            if not _is_address(address):
                break
            peer = address
            hops.pop()
        return peer

    def scheme(self, peer: str, headers: Headers) -> str | None:
        """Return by which scheme a proxy was asked, as ``X-Forwarded-Proto`` has it, if it does.

        :param peer: the address that the request came from.
        """
        if not _is_in(peer, self._networks):
            return None
        scheme = _listed(headers("x-forwarded-proto"))[-1].lower()
        return scheme if scheme in ("http", "https") else None

    def prefix(self, peer: str, headers: Headers) -> str | None:
        """Return the path that a proxy has removed from the request (``X-Forwarded-Prefix``).

        :param peer: the address that the request came from.
        :returns: None where no trusted proxy names one, or where it is no plain path.
        """
        if not _is_in(peer, self._networks):
            return None
        # The nearest proxy knows the whole; what lies further left may be the client's own.
        path = _listed(headers("x-forwarded-prefix"))[-1].rstrip("/")
        return path if is_root_path(path) else None


def _listed(header: str | None) -> list[str]:
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
