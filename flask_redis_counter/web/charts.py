"""Bar charts of a counter's days as SVG, drawn by pygal if it is installed."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ..series import SeriesPoint
from .si_prefix import si_prefix

#: Size of a chart in pixels.
WIDTH, HEIGHT = 400, 180

#: Maximum dates on the axis, and maximum bars.
MAX_DATES, MAX_BARS = 4, 100

_FONT = "system-ui, sans-serif"

# The whole style, for both colour schemes. The class names are pygal's; the first series is the
# lower part of a bar.
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
    """Return whether pygal is installed."""
    return find_spec("pygal") is not None


def days_per_bar(days: int) -> int:
    """Return how many days one bar sums up: 1 or 7."""
    return 1 if days <= MAX_BARS else 7


@lru_cache(maxsize=1)
def _pygal() -> Any:
    pygal = import_module("pygal")
    # pygal's plugin finder uses an import protocol that Python removed: 3.11 warns about it at each
    # import that fails.
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]
    return pygal


@lru_cache(maxsize=64)
def draw(days: tuple[SeriesPoint, ...]) -> str:
    """Return an SVG with one bar per day: unique visitors below, further hits above.

    If there are too many days, a bar is the sum of a week; up to six of the first days are left
    out, so that each bar has seven.
    """
    step = days_per_bar(len(days))
    starts = range(len(days) % step, len(days), step)
    bars = [days[start : start + step] for start in starts]
    hits = [sum(day.hits for day in bar) for bar in bars]
    visitors = [sum(min(day.visitors or 0, day.hits) for day in bar) for bar in bars]
    pygal = _pygal()
    # pygal reserves space for the texts by these sizes.
    fonts = {"label_font_size": 14, "major_label_font_size": 14, "font_family": _FONT}
    chart = pygal.StackedBar(
        width=WIDTH,
        height=HEIGHT,
        margin=4,
        margin_right=20,  # the last date is wider than its bar
        spacing=6,
        order_min=0,  # no fractions of a hit
        range=None if any(hits) else (0, 1),
        min_scale=2,
        max_scale=4,
        show_legend=False,
        x_labels_major_count=min(MAX_DATES, len(bars)),
        show_minor_x_labels=False,
        truncate_label=-1,
        value_formatter=_format_short,
        style=pygal.style.Style(**fonts),
        css=[f"inline:{_STYLE}"],
        js=[],
        no_prefix=True,
        disable_xml_declaration=True,
    )
    chart.x_labels = [f"{bar[0].start.day} {bar[0].start:%b}" for bar in bars]
    chart.add("unique visitors", visitors)
    further = [total - unique for total, unique in zip(hits, visitors, strict=True)]
    chart.add("further hits", further)
    chart.add_xml_filter(_strip)
    svg: str = chart.render()
    return svg


def _format_short(number: float) -> str:
    """Return a number that fits beside the axis, e.g. 41k for 41,000."""
    factor, prefix = si_prefix(number)
    return f"{number / factor:.3g}{prefix}" if prefix else f"{number:.0f}"


def _strip(root: Any) -> Any:
    """Remove the parts for pygal's own script, and the date."""
    for parent in list(root.iter()):
        for child in list(parent):
            # A comment's tag is a function.
            if not isinstance(child.tag, str) or child.tag in ("script", "desc", "title"):
                parent.remove(child)
    del root.attrib["id"]
    return root
