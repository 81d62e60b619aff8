"""Counters for somebody's Flask app."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import redis
from flask import Flask, current_app, has_request_context, request

from .commands import counter_group
from .config import Config
from .counter import Hit, RedisCounter
from .errors import CounterError, SpooledError
from .meter import Meter
from .rules import check_name
from .screen import Screen, Sender
from .setting_hints import hints_in
from .spool import Spool
from .state import EXTENSION_KEY, State, current_state

_P = ParamSpec("_P")
_R = TypeVar("_R")

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
        spool = config.spool_dir and Spool(config.spool_dir, megabytes=config.spool_mb)
        counter = RedisCounter(
            store,
            prefix=config.prefix,
            deadline=config.deadline,
            durability=config.durability,
            spool=spool or None,
            meter=Meter(config.metrics_dir, service=config.service),
        )
        app.extensions[EXTENSION_KEY] = State(counter, config, Screen(config))
        app.add_template_global(self.visits, "visits")
        app.cli.add_command(counter_group)

    @property
    def counter(self) -> RedisCounter:
        """The current app's counters.

        :raises RuntimeError: there is no current app, or it was not initialised.
        """
        return current_state().counter

    def hit(self, name: str | None = None, amount: int = 1) -> Hit:
        """Count, by default on the app's own counter; raises what :meth:`RedisCounter.hit` does.

        In a request, its visitor is noted (``COUNTER_VISITORS``).
        """
        state = current_state()
        visitor = _sender(state)[0] if has_request_context() else None
        return state.counter.hit(state.name_or_default(name), amount, visitor=visitor)

    def visits(self, name: str | None = None) -> int | None:
        """Return a counter's value, or None while it cannot be read: a page never breaks on it."""
        try:
            return self.counter.value(current_state().name_or_default(name))
        except CounterError as error:
            _log.warning("the counter could not be read: %s", error)
            return None

    def counted(self, name: str | None = None) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
        """Decorate a view: each visit counts, whatever becomes of the store.

        GET and POST and the like count once before the view runs; HEAD and OPTIONS do not, nor
        does a browser that fetches the page before anybody looks at it, a crawler
        (``COUNTER_BOTS``) or a reload (``COUNTER_RELOAD_SECONDS``). A hit that failed is logged,
        and the page goes out without it.

        :param name: the counter; by default the view's function name.
        :raises InvalidNameError: the name is outside the rules.
        """

        if callable(name):
            raise TypeError('write @visits.counted() or @visits.counted("name")')

        def decorate(view: Callable[_P, _R]) -> Callable[_P, _R]:
            counter_name = check_name(view.__name__ if name is None else name)

            @functools.wraps(view)
            def counting_view(*args: _P.args, **kwargs: _P.kwargs) -> _R:
                state = current_state()
                looks = request.method not in ("HEAD", "OPTIONS")
                if looks and state.screen.objection(request.headers.get) is None:
                    visitor, client = _sender(state)
                    terms = state.config.terms
                    try:
                        state.counter.hit(counter_name, visitor=visitor, client=client, terms=terms)
                    except SpooledError:
                        _log.info("a visit of %r waits in the spool", counter_name)
                    except CounterError as error:
                        _log.warning(
                            "a visit of %r: counted: %s: %s", counter_name, error.counted, error
                        )
                return current_app.ensure_sync(view)(*args, **kwargs)  # type: ignore[no-any-return]

            return counting_view

        return decorate


def _sender(state: State) -> Sender:
    return state.screen.sender(request.remote_addr or "", request.headers.get)
