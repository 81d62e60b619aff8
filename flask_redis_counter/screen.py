"""Whose a request is, and whether it is a visit at all."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from ipaddress import ip_address

from .config import Config
from .settings import Network

#: Returns a request's header, None where there is none; several of one name with commas between.
Headers = Callable[[str], str | None]

#: With what a browser says that nobody looks at the page yet.
PREFETCHING = frozenset({"sec-purpose", "purpose", "x-purpose", "x-moz"})
_EARLY = ("prefetch", "prerender", "preview")


class Screen:
    """What an app's settings say of those who visit.

    :param config: the settings.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._is_crawler: Callable[[str], bool] | None = None
        if config.ignore_bots:
            crawlers = import_module("crawleruseragents")
            self._is_crawler = lru_cache(maxsize=4096)(crawlers.is_crawler)

    @property
    def ignores_bots(self) -> bool:
        """Whether the user agent decides what is a visit."""
        return self._is_crawler is not None

    def objection(self, headers: Headers) -> str | None:
        """Return in a word why a request is no visit, None where it is one."""
        for name in PREFETCHING:
            value = headers(name)
            if value is not None and value.strip().lower().startswith(_EARLY):
                return "prefetch"
        if self._is_crawler is not None and self._is_crawler(headers("user-agent") or ""):
            return "bot"
        return None

    def visitor(self, peer: str, headers: Headers) -> str | None:
        """Return what tells a visitor from others, None where nobody is to be told.

        :param peer: the address that the request came from.
        """
        if not self._config.visitors:
            return None
        if self._config.opt_out and (headers("dnt") == "1" or headers("sec-gpc") == "1"):
            return None
        return self.identity(peer, headers)

    def identity(self, peer: str, headers: Headers) -> str:
        """Return what two requests of one visitor have in common: address and user agent."""
        address = self.address(peer, headers("x-forwarded-for")) if self._config.proxies else peer
        return f"{address} {headers('user-agent') or ''}"

    def address(self, peer: str, forwarded: str | None) -> str:
        """Return a client's address: the nearest one that no proxy of ours has.

        :param forwarded: the ``X-Forwarded-For`` header. Each proxy adds on the right whom it
            was asked by; what lies further left than the first stranger may be anybody's lie.
        """
        hops = [hop.strip() for hop in (forwarded or "").split(",")]
        while hops and _is_in(peer, self._config.proxies):
            if not _is_address(hops[-1]):
                break
            peer = hops.pop()
        return peer


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
