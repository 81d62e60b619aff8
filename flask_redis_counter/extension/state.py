"""The extension's state of one app."""

from __future__ import annotations

from dataclasses import dataclass

import redis
from flask import current_app

from ..config.config import Config
from ..counter import RedisCounter
from ..log_throttle import LogThrottle
from .circuit_breaker import CircuitBreaker
from .counted_views import CountedViews
from .visit_filter import VisitFilter

#: Key of the state in ``app.extensions``.
EXTENSION_KEY = "redis_counter"


@dataclass(frozen=True, slots=True)
class ExtensionState:
    """The counters and settings of one app.

    :ivar counter: the app's counters.
    :ivar config: its settings.
    :ivar visit_filter: its rules for visits.
    :ivar breaker: stops its pages from asking a store that does not answer.
    :ivar views: the views decorated with ``counted``.
    :ivar store: the ``store`` argument of :class:`FlaskRedisCounter`, or None.
    :ivar hit_log: throttles log lines about failed hits of its pages.
    :ivar read_log: throttles log lines about failed reads of its pages.
    """

    counter: RedisCounter
    config: Config
    visit_filter: VisitFilter
    breaker: CircuitBreaker
    views: CountedViews
    store: str | redis.Redis | None
    hit_log: LogThrottle
    read_log: LogThrottle

    def name_or_default(self, name: str | None) -> str:
        """Return the name, or that of the app's own counter for None.

        An empty name is not replaced: it is a mistake, such as an unset shell variable.
        """
        return self.config.name if name is None else name


def current_state() -> ExtensionState:
    """Return the current app's state.

    :raises RuntimeError: there is no current app, or it was not initialised.
    """
    state: ExtensionState | None = current_app.extensions.get(EXTENSION_KEY)
    if state is None:
        raise RuntimeError("this app has no counters: call FlaskRedisCounter.init_app(app)")
    return state
