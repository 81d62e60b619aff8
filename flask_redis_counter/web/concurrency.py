"""Concurrency limit of expensive responses, with a cache of one second.

They share the interpreter's lock with counting: if many were computed at once, hits would miss
their deadlines.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Hashable
from http import HTTPStatus
from time import monotonic
from typing import ParamSpec

from flask import Response, current_app, request
from werkzeug.exceptions import ServiceUnavailable

from ..forking import ForkSafe
from .problems import RETRY_AFTER

#: Seconds for which a response is cached.
TTL = 1.0

#: Seconds that a request waits for the lock.
LOCK_TIMEOUT = 2.0

#: Maximum requests that compute or wait. They occupy threads that other requests need.
MAX_REQUESTS = 8

#: Maximum responses in the cache.
MAX_CACHED = 16

# Key of an app's limiter in ``app.extensions``.
_EXTENSION = "redis_counter_concurrency"

_P = ParamSpec("_P")


class ConcurrencyLimiter(ForkSafe):
    """Computes one response at a time in each process, and caches responses."""

    def __init__(self) -> None:
        super().__init__()
        self.enter()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._slots = threading.Semaphore(MAX_REQUESTS)
        self._cache: dict[Hashable, tuple[float, Response]] = {}

    def respond(self, key: Hashable, compute: Callable[[], Response]) -> Response:
        """Return a cached response, or compute it.

        :param key: the cache key; None: the response is not cached.
        :raises ServiceUnavailable: too many requests compute or wait.
        """
        self.enter()
        if cached := self._cached(key):
            return cached
        if not self._slots.acquire(blocking=False):
            raise _busy()
        try:
            if not self._lock.acquire(timeout=LOCK_TIMEOUT):
                raise _busy()
            try:
                return self._cached(key) or self._compute(key, compute)
            finally:
                self._lock.release()
        finally:
            self._slots.release()

    def _cached(self, key: Hashable) -> Response | None:
        expires, response = self._cache.get(key, (0.0, None))
        return _copy(response) if response is not None and monotonic() < expires else None

    def _compute(self, key: Hashable, compute: Callable[[], Response]) -> Response:
        response = compute()
        if key is not None and response.status_code == HTTPStatus.OK:
            while len(self._cache) >= MAX_CACHED:
                del self._cache[next(iter(self._cache))]
            self._cache.pop(key, None)
            self._cache[key] = (monotonic() + TTL, _copy(response))
        return response


def limit_concurrency(
    *parameters: str, cached: bool = False
) -> Callable[[Callable[_P, Response]], Callable[_P, Response]]:
    """Decorate a view: each process computes one response at a time; excess requests get a 503.

    :param parameters: the query parameters that the response depends on.
    :param cached: whether the response is cached. A conditional request bypasses the cache.
    """

    def decorate(view: Callable[_P, Response]) -> Callable[_P, Response]:
        @functools.wraps(view)
        def limited(*args: _P.args, **kwargs: _P.kwargs) -> Response:
            key: Hashable = None
            if cached and not (request.if_none_match or request.if_match):
                query = tuple(tuple(request.args.getlist(name)) for name in parameters)
                key = (request.endpoint, request.root_path, *kwargs.values(), query)
            limiter: ConcurrencyLimiter = current_app.extensions.setdefault(
                _EXTENSION, ConcurrencyLimiter()
            )
            return limiter.respond(key, lambda: view(*args, **kwargs))

        return limited

    return decorate


def _copy(response: Response) -> Response:
    # The app adds headers to each response that it sends.
    return Response(response.get_data(), response.status_code, list(response.headers))


def _busy() -> ServiceUnavailable:
    detail = "Too many requests for this page at once; try again in a moment."
    return ServiceUnavailable(detail, retry_after=RETRY_AFTER)
