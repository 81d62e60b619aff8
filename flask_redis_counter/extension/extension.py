"""Counters for somebody's Flask app."""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, overload

import redis
from flask import Flask, current_app, g, has_request_context, request

from ..config.config import Config
from ..config.hints import hints_in
from ..counter import RedisCounter
from ..counting.hit import Hit
from ..counting.metrics import HitMetrics
from ..errors import CounterError, HitSpooledError, InvalidNameError, RateLimitExceededError
from ..log_throttle import LogThrottle
from ..spool.spool import Spool
from ..validation import check_name
from .circuit_breaker import CircuitBreaker
from .commands import counter_group
from .counted_views import CountedViews
from .state import EXTENSION_KEY, ExtensionState, current_state
from .visit_filter import VisitFilter
from .visits import HitRequest

_P = ParamSpec("_P")
_R = TypeVar("_R")

#: What :data:`flask.g` has in a request in which the store did not answer, or was not asked.
_AWAY = "_flask_redis_counter_away"

_log = logging.getLogger(__name__)


class FlaskRedisCounter:
    """Counts visits in one or several Flask apps; holds no app itself.

    Reads ``REDIS_URL``, ``COUNTER_NAME`` and the other settings from ``app.config`` first
    and from the environment second. Adds the template function ``visits()`` and the
    commands ``flask counter``.

    :param app: the app, or None to call :meth:`init_app` later.
    :param store: a ready :class:`redis.Redis` or a URL, instead of the settings that say
        where the store is.
    """

    def __init__(self, app: Flask | None = None, *, store: str | redis.Redis | None = None) -> None:
        self._store = store
        self._views = CountedViews()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Give the app its counters.

        :raises ConfigurationError: a setting is malformed or out of bounds.
        """
        config = Config.load(app.config, os.environ, store_given=self._store is not None)
        for hint in hints_in(app.config):
            _log.warning("%s", hint)
        store = config.redis_url if self._store is None else self._store
        spool = None
        if config.enabled and config.spool_dir is not None:
            spool = Spool(config.spool_dir, megabytes=config.spool_max_mb)
        counter = RedisCounter(
            store,
            prefix=config.prefix,
            timeout=config.timeout,
            durability=config.durability,
            spool=spool,
            metrics=HitMetrics(config.metrics_dir, service=config.service),
        )
        app.extensions[EXTENSION_KEY] = ExtensionState(
            counter,
            config,
            VisitFilter(config),
            CircuitBreaker(),
            self._views,
            self._store,
            hit_log=LogThrottle(_log, "visits are counted again"),
            read_log=LogThrottle(_log, "counters can be read again"),
        )
        app.add_template_global(self.visits, "visits")
        app.cli.add_command(counter_group)
        unchecked = [app]

        @app.before_request
        def check_views() -> None:
            """Look once, with the first request, when the app has all its views."""
            if unchecked and self._views:
                unchecked.clear()
                for problem, remedy in self._views.uncounted(app):
                    if app.debug or app.testing:
                        raise RuntimeError(f"{problem}: {remedy}")
                    _log.error("%s: %s", problem, remedy)

    @property
    def counter(self) -> RedisCounter:
        """The current app's counters.

        :raises RuntimeError: there is no current app, or it was not initialised.
        """
        return current_state().counter

    def hit(
        self, name: str | None = None, amount: int = 1, *, idempotency_key: str | None = None
    ) -> Hit:
        """Count, by default on the app's own counter; raises what :meth:`RedisCounter.hit` does.

        In a request it counts what :meth:`counted` does, under the same settings: not HEAD and
        OPTIONS, a prefetch, a crawler (``COUNTER_IGNORE_BOTS``) or a reload
        (``COUNTER_VISITOR_WINDOW``). The hit then has ``counted=False`` and the current value.
        ``visits.counter.hit(name)`` counts whatever the request is.

        :param idempotency_key: key of this hit: hits of a counter with the same key count once.
        :raises RateLimitExceededError: not counted: the address exceeds ``COUNTER_RATE_LIMIT``.
        """
        state = current_state()
        name = state.name_or_default(name)
        if not state.config.enabled:
            return Hit(check_name(name), 0, counted=False)
        with _watched(state):
            if has_request_context():
                asked = HitRequest.of(request, state)
                limits = state.config.limits
                ask = not (state.breaker.is_open() and _AWAY in g)
                hit, _ = asked.count(
                    state.counter,
                    name,
                    amount,
                    idempotency_key=idempotency_key,
                    limits=limits,
                    ask=ask,
                )
            else:
                hit = state.counter.hit(name, amount, idempotency_key=idempotency_key)
        if hit.counted:
            state.hit_log.recovered()
        return hit

    @overload
    def visits(self, name: str | None = None) -> int | None: ...
    @overload
    def visits(self, name: str, second: str, /, *more: str) -> dict[str, int | None]: ...
    def visits(self, name: str | None = None, *more: str) -> int | dict[str, int | None] | None:
        """Return a counter's value, or those of several by name, which asks the store once.

        A value is None while it cannot be read: a page never breaks on it.
        """
        state = current_state()
        first = state.name_or_default(name)
        values = _read(state, (first, *more))
        return values if more else values[first]

    def counted(
        self, name: str | None = None, *, idempotency_key: Callable[[], str | None] | None = None
    ) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
        """Decorate a view: each visit counts, and no failure of the store breaks the page.

        Stands below the route, next to the function. GET and POST and the like count once before
        the view runs; HEAD and OPTIONS do not, nor does a browser that fetches the page before
        anybody looks at it, a crawler (``COUNTER_IGNORE_BOTS``), a reload
        (``COUNTER_VISITOR_WINDOW``) or a client over ``COUNTER_RATE_LIMIT``. A hit that failed is
        logged, and the page goes
        out without it.

        :param name: the counter; by default the view's function name.
        :param idempotency_key: returns the key of the request's hit, such as the number of an
            order, or None; hits of a counter with the same key count once.
        :raises InvalidNameError: the name is outside the rules.
        """
        if callable(name):
            raise TypeError('write @visits.counted() or @visits.counted("name")')

        def decorate(view: Callable[_P, _R]) -> Callable[_P, _R]:
            counter_name = _counter_of(view) if name is None else check_name(name)
            if isinstance(view, type):
                raise TypeError(
                    f"{view.__name__} is a class: write decorators = "
                    f'[visits.counted("{counter_name}")] in it'
                )

            @functools.wraps(view)
            def counting_view(*args: _P.args, **kwargs: _P.kwargs) -> _R:
                _count(current_state(), counter_name, idempotency_key)
                return current_app.ensure_sync(view)(*args, **kwargs)  # type: ignore[no-any-return]

            if not hasattr(view, "__name__"):  # Flask makes the endpoint of it
                counting_view.__name__ = re.sub(r"\W", "_", counter_name)
            self._views.add(counting_view, view)
            return counting_view

        return decorate


@contextmanager
def _watched(state: ExtensionState) -> Iterator[None]:
    """Remember, also for the rest of the request, that the store did not answer."""
    try:
        with state.breaker.watch():
            yield
    except CounterError:
        if state.breaker.is_open():
            setattr(g, _AWAY, True)
        raise


def _counter_of(view: Any) -> str:
    """Return the name of a view as that of its counter."""
    name = getattr(view, "__name__", None)
    if name is None:
        raise TypeError(f'{type(view).__name__} has no name: write @visits.counted("name")')
    try:
        return check_name(name)
    except InvalidNameError as error:
        raise InvalidNameError(name, '; write @visits.counted("name")') from error


def _count(
    state: ExtensionState, name: str, idempotency_key: Callable[[], str | None] | None
) -> None:
    """Count a visit of a view; what fails is logged."""
    if not state.config.enabled:
        return
    asked = HitRequest.of(request, state)
    if asked.skip_reason is not None:
        return
    try:
        with _watched(state):
            state.counter.hit(
                name,
                idempotency_key=None if idempotency_key is None else idempotency_key(),
                visitor=asked.visitor,
                client=asked.client,
                limits=state.config.limits,
                ask=not state.breaker.is_open(),
            )
    except HitSpooledError:
        _log.debug("a visit of %r waits in the spool", name)  # the spool says so as well
    except RateLimitExceededError as error:
        _log.debug("a visit of %r: %s", name, error)
    except CounterError as error:
        state.hit_log.log(
            logging.WARNING, "a visit of %r: outcome: %s: %s", name, error.outcome, error
        )
    else:
        state.hit_log.recovered()


def _read(state: ExtensionState, names: tuple[str, ...]) -> dict[str, int | None]:
    """Return the values of counters, None for what cannot be read; what fails is logged."""
    unread: dict[str, int | None] = dict.fromkeys(names)
    if not state.config.enabled:
        return unread
    problem: object = "the store was away a moment ago: not asked"
    if not state.breaker.is_open():
        try:
            with _watched(state):
                values = state.counter.values(names, 0, None)
        except CounterError as error:
            problem = error
        else:
            broken = [name for name, value in values.items() if value is None]
            if not broken:
                state.read_log.recovered()
                return values
            unread = values
            problem = f"the key of {', '.join(broken)} holds something that is no integer"
    state.read_log.log(logging.WARNING, "counters could not be read: %s", problem)
    return unread
