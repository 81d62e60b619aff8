"""Whose a request is, and whether it is a visit at all."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from ipaddress import ip_address
from typing import TypeAlias

from .config import Config
from .settings import Network

#: Returns a request's header, None where there is none; several of one name with commas between.
Headers = Callable[[str], str | None]

#: What tells a visitor, and a client, from others; None where nobody is to be told.
Sender: TypeAlias = tuple[str | None, str | None]

#: With what a browser says that nobody looks at the page yet.
PREFETCHING = frozenset({"sec-purpose", "purpose", "x-purpose", "x-moz"})
_EARLY = ("prefetch", "prerender", "preview")


class Screen:
    """What an app's settings say of those who visit.

    :param config: the settings.
    """

    def __init__(self, config: Config) -> None:
        self._visitors = config.visitors
        self._opt_out = config.opt_out
        self._rated = config.terms.rate is not None
        self._proxies = config.proxies
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

    def sender(self, peer: str, headers: Headers) -> Sender:
        """Return who sends a hit.

        :param peer: the address that the request came from.
        """
        address = self._address(peer, headers) if self._proxies else peer
        if not self._visitors or (
            self._opt_out and (headers("dnt") == "1" or headers("sec-gpc") == "1")
        ):
            visitor = None
        else:
            visitor = f"{address} {headers('user-agent') or ''}"
        return visitor, address if self._rated else None

    def _address(self, peer: str, headers: Headers) -> str:
        """Return a client's address: the nearest one that no proxy of ours has.

        Each proxy adds on the right of ``X-Forwarded-For`` whom it was asked by; what lies
        further left than the first stranger may be anybody's lie.
        """
        hops = [hop.strip() for hop in (headers("x-forwarded-for") or "").split(",")]
        while hops and _is_in(peer, self._proxies):
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
