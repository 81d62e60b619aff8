"""Line charts of hits a second and latency by the number of connections, as one SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from .chart import STYLE
from .sweep import Point

_WIDTH, _HEIGHT = 760, 320
_TOP, _BOTTOM = 64, 248
_LINES = """
  path { fill: none; stroke-width: 2.5 }
  .grid { stroke: #d0d7de; stroke-width: 1 }
  .line0 { stroke: #c2410c } .line1 { stroke: #59636e }
  .line2 { stroke: #8c959f; stroke-dasharray: 7 4 }
  .mark { stroke-dasharray: none }
  @media (prefers-color-scheme: dark) {
    .grid { stroke: #3d444d }
    .line0 { stroke: #fb923c } .line1 { stroke: #b1bac4 } .line2 { stroke: #7d8590 }
  }
"""


@dataclass(frozen=True, slots=True)
class _Panel:
    """One of the two charts.

    :ivar left, right: positions of its axis and of its right edge.
    :ivar title: caption above it.
    :ivar value: the value of a point; None if it has none.
    :ivar ticks: values on the axis; the first one is its lower end, the last one its upper end.
    :ivar scale: function from values to distances.
    """

    left: int
    right: int
    title: str
    value: Callable[[Point], float | None]
    ticks: Sequence[float]
    scale: Callable[[float], float]

    def x(self, place: int, places: int) -> float:
        """Return the position of a number of connections by its place among all numbers."""
        return self.left + (self.right - self.left) * (place + 0.5) / places

    def y(self, value: float) -> float:
        """Return the position of a value."""
        low, high = self.scale(self.ticks[0]), self.scale(self.ticks[-1])
        return _BOTTOM - (_BOTTOM - _TOP) * (self.scale(value) - low) / (high - low)


def draw(series: Mapping[str, Sequence[Point]], *, note: str) -> str:
    """Return an SVG with two charts: hits a second, and the 99th percentile of the latency.

    A cross instead of a dot is a measurement with errors.

    :param series: points by contestant; the first one is highlighted.
    :param note: caption below the charts.
    """
    points = [point for line in series.values() for point in line]
    rates = linear_ticks(max(point.rate for point in points))
    latencies = decades([point.p99 for point in points if point.p99])
    panels = (
        _Panel(64, 364, "hits a second", lambda point: point.rate, rates, float),
        _Panel(
            452, 752, "99th percentile of the latency", lambda point: point.p99, latencies, math.log
        ),
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>{escape(describe(series))}</title>",
        f"<style>{STYLE}{_LINES}</style>",
    ]
    start = 64.0
    for index, name in enumerate(series):
        lines += [
            f'<path class="line{index}" d="M{start:.0f} 16h20"/>',
            f'<text x="{start + 28:.0f}" y="21">{escape(name)}</text>',
        ]
        start += 44 + 7.3 * len(name)  # about the width of the text
    for panel in panels:
        lines += _axes(panel, [point.connections for point in next(iter(series.values()))])
        # The first one is drawn last, above the others.
        for index, line in reversed(list(enumerate(series.values()))):
            lines += _line(panel, line, f"line{index}")
    lines += [f'<text class="soft" x="64" y="{_HEIGHT - 10}">{escape(note)}</text>', "</svg>"]
    return "\n".join(lines) + "\n"


def describe(series: Mapping[str, Sequence[Point]]) -> str:
    """Return the rates as text, for readers without images."""
    numbers = " / ".join(f"{point.connections:,}" for point in next(iter(series.values())))
    lines = [f"{name} {' / '.join(map(describe_rate, line))}" for name, line in series.items()]
    return f"Hits a second at {numbers} connections: {'; '.join(lines)}"


def describe_rate(point: Point) -> str:
    """Return the rate as text, with the number of errors if there are any."""
    return f"{point.rate:,.0f}" + (f" ({point.errors:,} errors)" if point.errors else "")


def linear_ticks(highest: float) -> list[float]:
    """Return three to six round values from 0 to at least the highest value."""
    highest = max(highest, 1.0)
    exact = highest / 5
    power = 10.0 ** math.floor(math.log10(exact))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= exact * 0.999)
    return [step * place for place in range(math.ceil(highest / step * 0.999) + 1)]


def decades(values: Sequence[float]) -> list[float]:
    """Return the powers of ten around the values, at least two."""
    low = math.floor(math.log10(min(values, default=1.0)))
    high = math.ceil(math.log10(max(values, default=1.0)))
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]


def _axes(panel: _Panel, numbers: Sequence[int]) -> list[str]:
    is_latency = panel.scale is math.log
    lines = [f'<text x="{panel.left}" y="{_TOP - 16}">{panel.title}</text>']
    for tick in panel.ticks:
        y = panel.y(tick)
        label = f"{tick:g} ms" if is_latency else f"{tick:,.0f}"
        lines += [
            f'<path class="grid" d="M{panel.left} {y:.1f}H{panel.right}"/>',
            f'<text class="soft" x="{panel.left - 8}" y="{y + 4:.1f}" '
            f'text-anchor="end">{label}</text>',
        ]
    for place, number in enumerate(numbers):
        lines.append(
            f'<text class="soft" x="{panel.x(place, len(numbers)):.1f}" y="{_BOTTOM + 18}" '
            f'text-anchor="middle">{number:,}</text>'
        )
    middle = (panel.left + panel.right) / 2
    lines.append(
        f'<text class="soft" x="{middle:.1f}" y="{_BOTTOM + 36}" text-anchor="middle">'
        "connections</text>"
    )
    return lines


def _line(panel: _Panel, points: Sequence[Point], kind: str) -> list[str]:
    placed = [
        (panel.x(place, len(points)), panel.y(value), point)
        for place, point in enumerate(points)
        if (value := panel.value(point)) is not None
    ]
    if not placed:
        return []
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y, _ in placed)
    lines = [f'<path class="{kind}" d="M{path}"/>']
    for x, y, point in placed:
        # A dot is a line without length, with round ends.
        shape, width = ("m-5 -5l10 10m0 -10l-10 10", 2.5) if point.errors else ("h0", 8)
        lines.append(
            f'<path class="{kind} mark" stroke-linecap="round" style="stroke-width: {width}" '
            f'd="M{x:.1f} {y:.1f}{shape}"/>'
        )
    return lines
