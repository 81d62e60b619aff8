"""A counter's days as a picture, drawn by pygal, where that is installed."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ..series import SeriesPoint

WIDTH, HEIGHT = 400, 180

#: How many dates there is room for below, and how many bars.
DATES, BARS = 4, 100

_FONT = "system-ui, sans-serif"

# All of its style, for both colour schemes; the classes are pygal's. Of the two series the first
# is below.
_STYLE = """
text { fill: #56606c; }
.axis.x text { text-anchor: middle; }
.axis.y text { text-anchor: end; }
.background, .axis.x path { fill: none; stroke: none; }
.axis.y path { fill: none; stroke: #d6dbe2; }
.axis.y .axis.line { stroke: #56606c; }
.serie-0 rect { fill: #b5321a; }
.serie-1 rect { fill: #7b8794; }
@media (prefers-color-scheme: dark) {
  text { fill: #9ca7b5; }
  .axis.y path { stroke: #303945; }
  .axis.y .axis.line { stroke: #9ca7b5; }
  .serie-0 rect { fill: #ff8a68; }
  .serie-1 rect { fill: #6f7c8b; }
}
"""


@lru_cache(maxsize=1)
def charts_available() -> bool:
    """Whether pygal is installed."""
    return find_spec("pygal") is not None


def days_per_bar(days: int) -> int:
    """Return how many days a bar is of: one, or seven."""
    return 1 if days <= BARS else 7


@lru_cache(maxsize=1)
def _pygal() -> Any:
    pygal = import_module("pygal")
    # Its finder for plugins is of a kind that Python has given up: 3.11 warns of it with each
    # import that fails.
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]
    return pygal


@lru_cache(maxsize=64)
def draw(days: tuple[SeriesPoint, ...]) -> str:
    """Return an SVG with a bar a day: its height is the hits, its foot the unique visitors.

    Where there are too many days a bar is a week: the sums of its days. The first ones may be
    left out for that.
    """
    step = days_per_bar(len(days))
    begins = range(len(days) % step, len(days), step)
    bars = [days[begin : begin + step] for begin in begins]
    hits = [sum(day.hits for day in bar) for bar in bars]
    visitors = [sum(min(day.visitors or 0, day.hits) for day in bar) for bar in bars]
    pygal = _pygal()
    # It leaves as much room for the texts as these say.
    texts = {"label_font_size": 14, "major_label_font_size": 14, "font_family": _FONT}
    chart = pygal.StackedBar(
        width=WIDTH,
        height=HEIGHT,
        margin=4,
        margin_right=20,  # the last date is wider than its bar
        spacing=6,
        order_min=0,  # no half hits
        range=None if any(hits) else (0, 1),
        min_scale=2,
        max_scale=4,
        show_legend=False,
        x_labels_major_count=min(DATES, len(bars)),
        show_minor_x_labels=False,
        truncate_label=-1,
        value_formatter=_short,
        style=pygal.style.Style(**texts),
        css=[f"inline:{_STYLE}"],
        js=[],
        no_prefix=True,
        disable_xml_declaration=True,
    )
    chart.x_labels = [f"{bar[0].start.day} {bar[0].start:%b}" for bar in bars]
    chart.add("unique visitors", visitors)
    chart.add("further hits", [of - by for of, by in zip(hits, visitors, strict=True)])
    chart.add_xml_filter(_picture)
    drawn: str = chart.render()
    return drawn


def _short(number: float) -> str:
    """Return a number that fits beside the chart: 41,000 is 41k."""
    for size, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def _picture(root: Any) -> Any:
    """Leave out what only pygal's own script reads, and the date."""
    for parent in list(root.iter()):
        for child in list(parent):
            # The tag of a comment is a function.
            if not isinstance(child.tag, str) or child.tag in ("script", "desc", "title"):
                parent.remove(child)
    del root.attrib["id"]
    return root
