"""Whose a request is, and whether it is a visit at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from importlib import import_module
from typing import TypeAlias

from ..config.config import Config
from ..limits import Limits
from .trusted_proxies import HeaderGetter, TrustedProxies, client_key

#: What tells a visitor, and a client, from others; None where nobody is to be told.
Identity: TypeAlias = tuple[str | None, str | None]

#: With what a browser says that nobody looks at the page yet.
PREFETCH_HEADERS = frozenset({"sec-purpose", "purpose", "x-purpose", "x-moz"})
_EARLY = ("prefetch", "prerender", "preview")


@lru_cache(maxsize=8)
def _each_time(limits: Limits) -> Limits:
    return replace(limits, visitor_window=None)


class VisitFilter:
    """What an app's settings say of those who visit.

    :param config: the settings.
    """

    def __init__(self, config: Config) -> None:
        self._visitors = config.visitors
        self._opt_out = config.respect_dnt
        self._rated = config.limits.rate is not None
        self._ipv6_prefix = config.ipv6_prefix
        self._proxies = TrustedProxies(config.trusted_proxies) if config.trusted_proxies else None
        self._is_crawler: Callable[[str], bool] | None = None
        if config.ignore_bots:
            crawlers = import_module("crawleruseragents")
            self._is_crawler = lru_cache(maxsize=4096)(crawlers.is_crawler)

    @property
    def ignores_bots(self) -> bool:
        """Whether the user agent decides what is a visit."""
        return self._is_crawler is not None

    def objection(self, headers: HeaderGetter) -> str | None:
        """Return in a word why a request is no visit, None where it is one."""
        for name in PREFETCH_HEADERS:
            value = headers(name)
            if value is not None and value.strip().lower().startswith(_EARLY):
                return "prefetch"
        if self._is_crawler is not None and self._is_crawler(headers("user-agent") or ""):
            return "bot"
        return None

    def limits(self, limits: Limits, idempotency_key: str | None, headers: HeaderGetter) -> Limits:
        """Return the terms of a hit: a program's hits with keys are different hits, not reloads.

        A page's script sends a key as well, a new one with each load; browsers add ``Origin``.
        """
        if (
            idempotency_key is None
            or limits.visitor_window is None
            or headers("origin") is not None
        ):
            return limits
        return _each_time(limits)

    def client(self, peer: str, headers: HeaderGetter) -> str:
        """Return what tells a client from others.

        :param peer: the address that the request came from.
        """
        address = self._proxies.client(peer, headers) if self._proxies is not None else peer
        return client_key(address, self._ipv6_prefix)

    def sender(self, peer: str, headers: HeaderGetter) -> Identity:
        """Return who sends a hit.

        :param peer: the address that the request came from.
        """
        # self.client(), on the hot path; of an IPv4 address there is one spelling.
        address = self._proxies.client(peer, headers) if self._proxies is not None else peer
        if ":" in address:
            address = client_key(address, self._ipv6_prefix)
        if not self._visitors or (
            self._opt_out and (headers("dnt") == "1" or headers("sec-gpc") == "1")
        ):
            visitor = None
        else:
            visitor = f"{address} {headers('user-agent') or ''}"
        return visitor, address if self._rated else None
