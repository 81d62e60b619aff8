"""Registry of the views decorated with `counted`, and detection of misplaced decorators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask

_View = Callable[..., Any]


class CountedViews:
    """The decorated views of all apps of one :class:`FlaskRedisCounter`.

    A decorator above ``@app.get(…)`` has no effect: Flask has registered the undecorated view.
    This can be detected once the app has all its views.
    """

    def __init__(self) -> None:
        self._views: list[tuple[_View, _View]] = []

    def __bool__(self) -> bool:
        return bool(self._views)

    def add(self, counting_view: _View, view: _View) -> None:
        """Register a decorated view.

        :param counting_view: the result of the decorator.
        :param view: the function that it wraps.
        """
        self._views.append((counting_view, view))

    def find_uncounted(self, app: Flask) -> list[tuple[str, str]]:
        """Return a message and a remedy for each view that the app serves undecorated."""
        counting = {id(counting_view) for counting_view, _ in self._views}
        served: set[int] = set()
        undecorated: dict[int, str] = {}
        for endpoint, view in app.view_functions.items():
            layer: _View | None = view
            is_counting = False
            while layer is not None:  # follow functools.wraps
                served.add(id(layer))
                is_counting = is_counting or id(layer) in counting
                if not is_counting:
                    undecorated[id(layer)] = endpoint
                layer = getattr(layer, "__wrapped__", None)
        return [
            (
                f"the view {undecorated[id(view)]!r} is not counted: its decorator "
                "@visits.counted() stands above the route, which has registered the view already",
                "write it below the route, next to the function",
            )
            for counting_view, view in self._views
            if id(view) in undecorated and id(counting_view) not in served
        ]
