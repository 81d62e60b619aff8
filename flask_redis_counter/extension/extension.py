"""The Flask extension: `FlaskRedisCounter`."""

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
from ..config.hints import find_hints
from ..counter import RedisCounter
from ..counting.hit import Hit
from ..counting.journal import Journal
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

#: Attribute of :data:`flask.g` that is set after the store did not answer in this request.
_OUTAGE_FLAG = "_flask_redis_counter_outage"

_log = logging.getLogger(__name__)


class FlaskRedisCounter:
    """Counts visits in one or several Flask apps; it holds no reference to an app.

    Reads ``REDIS_URL``, ``COUNTER_NAME`` and the other settings from ``app.config``, then from
    the environment. Adds the template function ``visits()`` and the commands ``flask counter``.

    .. code-block:: python

        app = Flask(__name__)
        visits = FlaskRedisCounter(app)

        @app.get("/")
        @visits.counted("front-page")
        def index() -> str:
            return f"visit number {visits.visits('front-page')}"

    :param app: the app, or None to call :meth:`init_app` later.
    :param store: a :class:`redis.Redis` client or a URL, instead of the ``REDIS_…`` settings.
    """

    def __init__(self, app: Flask | None = None, *, store: str | redis.Redis | None = None) -> None:
        self._store = store
        self._views = CountedViews()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Add the counters to an app.

        :raises ConfigurationError: a setting is malformed or out of bounds.
        """
        config = Config.load(app.config, os.environ, store_given=self._store is not None)
        for hint in find_hints(app.config):
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
            metrics=HitMetrics(config.metrics_dir, service=config.service_id),
            journal=Journal(config.journal_max, config.journal_full),
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
            """Check the views once, at the first request, when the app has all of them."""
            if unchecked and self._views:
                unchecked.clear()
                for message, remedy in self._views.find_uncounted(app):
                    if app.debug or app.testing:
                        raise RuntimeError(f"{message}: {remedy}")
                    _log.error("%s: %s", message, remedy)

    @property
    def counter(self) -> RedisCounter:
        """The current app's counters.

        :raises RuntimeError: there is no current app, or it was not initialised.
        """
        return current_state().counter

    def hit(
        self, name: str | None = None, amount: int = 1, *, idempotency_key: str | None = None
    ) -> Hit:
        """Count a hit, by default on the app's own counter.

        In a request the rules and settings of :meth:`counted` apply: HEAD and OPTIONS, a
        prefetch, a crawler (``COUNTER_IGNORE_BOTS``) and a reload (``COUNTER_VISITOR_WINDOW``)
        are not counted. The hit then has ``counted=False`` and the current value. To count any
        request, call ``visits.counter.hit(name)``.

        Raises the errors of :meth:`RedisCounter.hit`.

        :param name: the counter; None for the app's own.
        :param amount: how much to count.
        :param idempotency_key: key of this hit: hits of a counter with the same key count once.
        :raises RateLimitExceededError: not counted: the client exceeds ``COUNTER_RATE_LIMIT``.
        """
        state = current_state()
        name = state.name_or_default(name)
        if not state.config.enabled:
            return Hit(check_name(name), 0, counted=False)
        with _watch_outages(state):
            if has_request_context():
                visit = HitRequest.parse(request, state)
                is_down = state.breaker.is_open() and _OUTAGE_FLAG in g
                hit, _ = visit.hit(
                    state.counter,
                    name,
                    amount,
                    idempotency_key=idempotency_key,
                    limits=state.config.limits,
                    ask=not is_down,
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
        """Return a counter's value, or the values of several by name, in one round trip.

        A value is None if it cannot be read; no error of the store is raised.
        """
        state = current_state()
        first = state.name_or_default(name)
        values = _read_values(state, (first, *more))
        return values if more else values[first]

    def counted(
        self, name: str | None = None, *, idempotency_key: Callable[[], str | None] | None = None
    ) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
        """Decorate a view: count each visit. A failure of the store does not break the page.

        Write it below the route, next to the function:

        .. code-block:: python

            @app.get("/")
            @visits.counted("front-page")
            def index() -> str: ...

        A request with GET, POST or another method counts once, before the view runs. HEAD and
        OPTIONS do not count, nor does a browser's prefetch, a crawler (``COUNTER_IGNORE_BOTS``),
        a reload (``COUNTER_VISITOR_WINDOW``) or a client over ``COUNTER_RATE_LIMIT``. A failed
        hit is logged, and the view runs all the same.

        :param name: the counter; by default the view's function name.
        :param idempotency_key: function that returns the key of the request's hit, such as an
            order number, or None; hits of a counter with the same key count once.
        :raises InvalidNameError: the name is invalid.
        """
        if callable(name):
            raise TypeError('write @visits.counted() or @visits.counted("name")')

        def decorate(view: Callable[_P, _R]) -> Callable[_P, _R]:
            counter_name = _name_from_view(view) if name is None else check_name(name)
            if isinstance(view, type):
                raise TypeError(
                    f"{view.__name__} is a class: write decorators = "
                    f'[visits.counted("{counter_name}")] in it'
                )

            @functools.wraps(view)
            def counting_view(*args: _P.args, **kwargs: _P.kwargs) -> _R:
                _count_visit(current_state(), counter_name, idempotency_key)
                return current_app.ensure_sync(view)(*args, **kwargs)  # type: ignore[no-any-return]

            if not hasattr(view, "__name__"):  # Flask derives the endpoint from it
                counting_view.__name__ = re.sub(r"\W", "_", counter_name)
            self._views.add(counting_view, view)
            return counting_view

        return decorate


@contextmanager
def _watch_outages(state: ExtensionState) -> Iterator[None]:
    """Record an outage in the circuit breaker, and for the rest of the request."""
    try:
        with state.breaker.watch():
            yield
    except CounterError:
        if state.breaker.is_open():
            setattr(g, _OUTAGE_FLAG, True)
        raise


def _name_from_view(view: Any) -> str:
    """Return a view's function name, as the name of its counter."""
    name = getattr(view, "__name__", None)
    if name is None:
        raise TypeError(f'{type(view).__name__} has no name: write @visits.counted("name")')
    try:
        return check_name(name)
    except InvalidNameError as error:
        raise InvalidNameError(name, '; write @visits.counted("name")') from error


def _count_visit(
    state: ExtensionState, name: str, idempotency_key: Callable[[], str | None] | None
) -> None:
    """Count the current request on a view's counter; log failures."""
    if not state.config.enabled:
        return
    visit = HitRequest.parse(request, state)
    if visit.skip_reason is not None:
        return
    try:
        with _watch_outages(state):
            visit.hit(
                state.counter,
                name,
                idempotency_key=None if idempotency_key is None else idempotency_key(),
                limits=state.config.limits,
                ask=not state.breaker.is_open(),
            )
    except HitSpooledError:
        _log.debug("a visit of %r was spooled", name)  # the spool logs its own warning
    except RateLimitExceededError as error:
        _log.debug("a visit of %r: %s", name, error)
    except CounterError as error:
        state.hit_log.log(
            logging.WARNING, "a visit of %r: outcome: %s: %s", name, error.outcome, error
        )
    else:
        state.hit_log.recovered()


def _read_values(state: ExtensionState, names: tuple[str, ...]) -> dict[str, int | None]:
    """Return the values of counters, None for each that cannot be read; log failures."""
    unread: dict[str, int | None] = dict.fromkeys(names)
    if not state.config.enabled:
        return unread
    problem: object = "the store did not answer a moment ago; reads are paused"
    if not state.breaker.is_open():
        try:
            with _watch_outages(state):
                values = state.counter.values(names, 0, None)
        except CounterError as error:
            problem = error
        else:
            invalid = [name for name, value in values.items() if value is None]
            if not invalid:
                state.read_log.recovered()
                return values
            unread = values
            problem = f"the key of {', '.join(invalid)} does not hold an integer"
    state.read_log.log(logging.WARNING, "counters could not be read: %s", problem)
    return unread
