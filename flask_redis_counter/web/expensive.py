"""Costly responses: computed one at a time in each process, and some of them cached for a second.

They share the interpreter's lock with counting: were many computed at once, hits would miss their
deadlines.
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

#: Seconds that a request waits for its turn.
TURN_TIMEOUT = 2.0

#: Requests that compute or wait; they hold threads that other requests need.
MAX_REQUESTS = 8

#: Responses that are cached at once.
MAX_CACHED = 16

# Where an app keeps its limiter, in ``app.extensions``.
_KEY = "flask-redis-counter.costly"

_P = ParamSpec("_P")


class ConcurrencyLimiter(ForkSafe):
    """The turn to compute, and the responses of the last second."""

    def __init__(self) -> None:
        super().__init__()
        self.enter()

    def _reset(self) -> None:
        self._turn = threading.Lock()
        self._places = threading.Semaphore(MAX_REQUESTS)
        self._cache: dict[Hashable, tuple[float, Response]] = {}

    def respond(self, key: Hashable, compute: Callable[[], Response]) -> Response:
        """Return a cached response, or compute it.

        :param key: what the response depends on; None: it is not cached.
        :raises ServiceUnavailable: too many compute or wait.
        """
        self.enter()
        if cached := self._cached(key):
            return cached
        if not self._places.acquire(blocking=False):
            raise _busy()
        try:
            if not self._turn.acquire(timeout=TURN_TIMEOUT):
                raise _busy()
            try:
                return self._cached(key) or self._compute(key, compute)
            finally:
                self._turn.release()
        finally:
            self._places.release()

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
    """Decorate a view: one at a time is computed in each process; too many at once are a 503.

    :param parameters: those of the query that the response depends on.
    :param cached: whether the response may be a second old; not one to a conditional request.
    """

    def decorate(view: Callable[_P, Response]) -> Callable[_P, Response]:
        @functools.wraps(view)
        def limited(*args: _P.args, **kwargs: _P.kwargs) -> Response:
            key: Hashable = None
            if cached and not (request.if_none_match or request.if_match):
                query = tuple(tuple(request.args.getlist(name)) for name in parameters)
                key = (request.endpoint, request.root_path, *kwargs.values(), query)
            limiter: ConcurrencyLimiter = current_app.extensions.setdefault(
                _KEY, ConcurrencyLimiter()
            )
            return limiter.respond(key, lambda: view(*args, **kwargs))

        return limited

    return decorate


def _copy(response: Response) -> Response:
    # The app adds headers to each response that it sends.
    return Response(response.get_data(), response.status_code, list(response.headers))


def _busy() -> ServiceUnavailable:
    detail = "Too many ask for this; try again in a moment."
    return ServiceUnavailable(detail, retry_after=RETRY_AFTER)
