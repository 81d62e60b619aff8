"""The views that are decorated with `counted`, and those of them that Flask serves without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask

_View = Callable[..., Any]


class CountedViews:
    """The decorated views of all apps.

    A decorator above ``@app.get(…)`` comes too late: Flask has the view already, and serves it
    as it is. That is known once the app has all its views.
    """

    def __init__(self) -> None:
        self._views: list[tuple[_View, _View]] = []

    def __bool__(self) -> bool:
        return bool(self._views)

    def add(self, counting_view: _View, view: _View) -> None:
        """Add a view, and what it is decorated as."""
        self._views.append((counting_view, view))

    def uncounted(self, app: Flask) -> list[tuple[str, str]]:
        """Return a problem and its remedy for each view that an app serves undecorated."""
        counting = {id(counting_view) for counting_view, _ in self._views}
        served: set[int] = set()
        bare: dict[int, str] = {}
        for endpoint, view in app.view_functions.items():
            layer: _View | None = view
            counts = False
            while layer is not None:  # what functools.wraps leaves
                served.add(id(layer))
                counts = counts or id(layer) in counting
                if not counts:
                    bare[id(layer)] = endpoint
                layer = getattr(layer, "__wrapped__", None)
        return [
            (
                f"the view {bare[id(view)]!r} is not counted: its decorator @visits.counted() "
                "stands above the route, which has the view already",
                "write it below, next to the function",
            )
            for counting_view, view in self._views
            if id(view) in bare and id(counting_view) not in served
        ]
