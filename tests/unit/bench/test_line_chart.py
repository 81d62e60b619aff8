"""The chart by number of connections."""

import re
from xml.etree import ElementTree

import pytest

from bench.line_chart import decades, describe, draw, linear_ticks
from bench.sweep import Point

SERIES = {
    "ours": [Point(1, 100.0, 0.5, 0), Point(64, 400.0, 2.0, 0)],
    "<theirs>": [Point(1, 200.0, 0.2, 0), Point(64, 0.0, None, 30)],
}


def paths(svg, kind):
    """Return the lines and marks of a class."""
    tags = ElementTree.fromstring(svg).iter(  # noqa: S314  # our own
        "{http://www.w3.org/2000/svg}path"
    )
    return [tag.get("d") for tag in tags if (tag.get("class") or "").split() == kind.split()]


def test_draw_lines():
    """Each contestant has a line in the legend and in both charts, and higher rates are higher."""
    svg = draw(SERIES, note="a & b")
    rates = [re.findall(r"[\d.]+", path) for path in paths(svg, "line0")[1:2]]
    assert len(paths(svg, "line0")) == len(paths(svg, "line1")) == 3
    (_, low, _, high), *_ = rates
    assert float(high) < float(low)


def test_draw_errors():
    """A measurement with errors has a cross, also without responses; others have dots."""
    svg = draw(SERIES, note="")
    dots, crosses = paths(svg, "line0 mark"), paths(svg, "line1 mark")
    assert len(dots) == 4
    assert all(mark.endswith("h0") for mark in dots)
    # Two rates, and the only latency.
    assert len(crosses) == 3
    assert sum(mark.endswith("h0") for mark in crosses) == 2


def test_draw_zero_at_the_axis():
    """A contestant without responses is at the lower end of the rates."""
    svg = draw(SERIES, note="")
    [cross] = [mark for mark in paths(svg, "line1 mark") if not mark.endswith("h0")]
    axis = [re.match(r"M64 ([\d.]+)H", path) for path in paths(svg, "grid")]
    assert cross.split()[1].startswith(max((hit[1] for hit in axis if hit), key=float))


def test_draw_without_any_latency():
    """A chart without any response has axes and crosses."""
    svg = draw({"ours": [Point(1, 0.0, None, 5)]}, note="")
    assert len(paths(svg, "line0 mark")) == 1


def test_describe_points():
    """The text for readers without images has all rates and errors."""
    assert describe(SERIES) == (
        "Hits a second at 1 / 64 connections: ours 100 / 400; <theirs> 200 / 0 (30 errors)"
    )


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [
        (80_000, [0, 20_000, 40_000, 60_000, 80_000]),
        (81_000, [0, 20_000, 40_000, 60_000, 80_000, 100_000]),
        (0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (3, [0, 1, 2, 3]),
    ],
)
def test_linear_ticks_cover_values(highest, ticks):
    """linear_ticks returns round steps from zero to at least the highest value."""
    assert linear_ticks(highest) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.5, 30], [0.1, 1, 10, 100]),
        ([1, 10], [1, 10]),
        ([1], [1, 10]),
        ([], [1, 10]),
    ],
)
def test_decades_cover_values(values, ticks):
    """decades returns the powers of ten around the values."""
    assert decades(values) == pytest.approx(ticks)
