"""Decides whether a request counts as a visit, and identifies its visitor and its client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from importlib import import_module

from ..config.config import Config
from ..limits import Limits
from .trusted_proxies import HeaderGetter, TrustedProxies, client_key
from .visits import HitRequest

#: Headers in which browsers announce a prefetch.
PREFETCH_HEADERS = frozenset({"sec-purpose", "purpose", "x-purpose", "x-moz"})
_PREFETCH_VALUES = ("prefetch", "prerender", "preview")


@lru_cache(maxsize=8)
def _without_window(limits: Limits) -> Limits:
    return replace(limits, visitor_window=None)


class VisitFilter:
    """The visit rules of one app.

    :param config: the app's settings.
    """

    def __init__(self, config: Config) -> None:
        self._counts_visitors = config.visitors
        self._respects_dnt = config.respect_dnt
        self._has_rate_limit = config.limits.rate is not None
        self._ipv6_prefix = config.ipv6_prefix
        self._proxies = TrustedProxies(config.trusted_proxies) if config.trusted_proxies else None
        self._is_crawler: Callable[[str], bool] | None = None
        if config.ignore_bots:
            crawlers = import_module("crawleruseragents")
            self._is_crawler = lru_cache(maxsize=4096)(crawlers.is_crawler)

    @property
    def ignores_bots(self) -> bool:
        """Whether requests of known crawlers are skipped."""
        return self._is_crawler is not None

    def skip_reason(self, headers: HeaderGetter) -> str | None:
        """Return ``prefetch`` or ``bot`` if the headers are not those of a visit, else None."""
        for name in PREFETCH_HEADERS:
            value = headers(name)
            if value is not None and value.strip().lower().startswith(_PREFETCH_VALUES):
                return "prefetch"
        if self._is_crawler is not None and self._is_crawler(headers("user-agent") or ""):
            return "bot"
        return None

    def adjust_limits(
        self, limits: Limits, idempotency_key: str | None, headers: HeaderGetter
    ) -> Limits:
        """Return the limits, without the visitor window if a program sends idempotency keys.

        Its hits with different keys are different hits, not reloads. The script of a web page
        also sends a key, a new one per page load; its requests have an ``Origin`` header.
        """
        if (
            idempotency_key is None
            or limits.visitor_window is None
            or headers("origin") is not None
        ):
            return limits
        return _without_window(limits)

    def identify_client(self, peer: str, headers: HeaderGetter) -> str:
        """Return the key that identifies a client, see :func:`client_key`.

        :param peer: address of the connection's other end.
        """
        proxies = self._proxies
        address = proxies.client_address(peer, headers) if proxies is not None else peer
        return client_key(address, self._ipv6_prefix)

    def identify(self, peer: str, headers: HeaderGetter) -> HitRequest:
        """Return the visitor and the client of a visit, with a skip reason of None.

        :param peer: address of the connection's other end.
        """
        # identify_client() inlined for the hot path; an IPv4 address has only one spelling.
        proxies = self._proxies
        address = proxies.client_address(peer, headers) if proxies is not None else peer
        if ":" in address:
            address = client_key(address, self._ipv6_prefix)
        if not self._counts_visitors or (
            self._respects_dnt and (headers("dnt") == "1" or headers("sec-gpc") == "1")
        ):
            visitor = None
        else:
            visitor = f"{address} {headers('user-agent') or ''}"
        return HitRequest(None, visitor, address if self._has_rate_limit else None)
