"""What the extension keeps for each app."""

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

#: Where an app's state lives in ``app.extensions``.
EXTENSION_KEY = "flask-redis-counter"


@dataclass(frozen=True, slots=True)
class ExtensionState:
    """The counters and the settings of one app.

    :ivar breaker: whether its pages ask the store.
    :ivar views: the views that are decorated.
    :ivar store: the store that was given instead of settings, if it was.
    :ivar hit_log: the log of hits of its pages that failed.
    :ivar read_log: the log of values for its pages that could not be read.
    """

    counter: RedisCounter
    config: Config
    screen: VisitFilter
    breaker: CircuitBreaker
    views: CountedViews
    store: str | redis.Redis | None
    hit_log: LogThrottle
    read_log: LogThrottle

    def name_or_default(self, name: str | None) -> str:
        """Return the name, or that of the app's own counter for None.

        An empty name stays what it is: a mistake (an unset variable in a script).
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
