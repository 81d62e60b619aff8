"""Charts and figures in the README and the docs, from a report."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from . import chart, line_chart
from .contestants import CONSTANTS, DEMO, FASTAPI, FLASK_RUN, OURS, WEBDIS
from .race import CONNECTIONS
from .report import Report
from .sweep import Point, summarize

ROOT = Path(__file__).parents[1]

_BLOCK = re.compile(
    r"(<!-- bench: (\w+) -->\n)(?:(?!<!-- bench ends -->).)*(<!-- bench ends -->)", re.DOTALL
)


def write(report: Report, root: Path = ROOT) -> None:
    """Write the charts, and fill the blocks of README.md and docs/performance.md.

    The report must have webdis and the sweep.
    """
    docs, speeds = root / "docs", rates(report)
    note = f"hits a second, {CONNECTIONS} connections, {_machine(report)}"
    (docs / "bench.svg").write_text(chart.draw(speeds, ours=OURS.name, note=note), "utf-8")
    texts = blocks(report)
    swept = line_chart.draw(_series(report), note=_machine(report))
    (docs / "bench-connections.svg").write_text(swept, "utf-8")
    for page, prefix in ((root / "README.md", "docs/"), (docs / "performance.md", "")):
        page.write_text(fill(page.read_text("utf-8"), texts, images=prefix), "utf-8")


def rates(report: Report) -> dict[str, float]:
    """Return the rate of each contestant, and of the best constant view only."""
    race = report.race
    best = race.best(CONSTANTS).name
    others = {constant.name for constant in CONSTANTS} - {best}
    return {
        name: median(load.rate for load in loads)
        for name, loads in race.loads.items()
        if name not in others
    }


def fill(page: str, texts: Mapping[str, str], *, images: str = "") -> str:
    """Replace the blocks of a page: ``<!-- bench: name -->``, text, ``<!-- bench ends -->``.

    :param texts: text by the name of a block.
    :param images: prefix of the images' paths.
    :raises KeyError: the page has a block without a text.
    """
    return _BLOCK.sub(
        lambda block: block[1] + texts[block[2]].replace("](", f"]({images}") + "\n" + block[3],
        page,
    )


def blocks(report: Report) -> dict[str, str]:
    """Return the text of each block."""
    race = report.race
    speeds = sorted(rates(report).items(), key=lambda item: -item[1])
    alternative = "; ".join(f"{name} {rate:,.0f}" for name, rate in speeds)
    factor = {
        contestant: times(median(race.ratio(OURS, contestant)))
        for contestant in (FLASK_RUN, DEMO, FASTAPI, WEBDIS, race.best(CONSTANTS))
    }
    as_many = "as many" if factor[WEBDIS] == "1.0" else f"{factor[WEBDIS]} times as many"
    return {
        "chart": f"![Hits a second: {alternative}](bench.svg)",
        "summary": (
            f"Hits per second, measured by `nox -s bench`: {factor[DEMO]} times as many as the "
            "classic demo on\n"
            f"gunicorn, {factor[FASTAPI]} times as many as the demo with FastAPI, "
            f"{factor[race.best(CONSTANTS)]} times as many as the requests of a\n"
            f"Flask view that returns a constant, and {as_many} as webdis, which is written in C."
        ),
        "race": _race(report),
        "goals": _goals(report),
        "connections": _connections(report),
        "variants": _variants(report),
        "machine": ", ".join(f"{name} {value}" for name, value in report.machine.items()) + ".",
    }


def times(ratio: float) -> str:
    """Return a factor with two significant digits."""
    return f"{ratio:.0f}" if ratio >= 9.95 else f"{ratio:.1f}" if ratio >= 0.995 else f"{ratio:.2f}"


def _race(report: Report) -> str:
    rows = []
    for name in sorted(rates(report), key=lambda name: rates(report)[name]):
        loads = report.race.loads[name]
        values = [median(load.p50 for load in loads), median(load.p99 for load in loads)]
        ratios = [
            ours.rate / load.rate
            for ours, load in zip(report.race.loads[OURS.name], loads, strict=True)
        ]
        cells = [name, f"{rates(report)[name]:,.0f}", *(f"{value:.1f} ms" for value in values)]
        cells.append(f"{median(report.race.store_cpu[name]):.1f} µs" if name[0] != "(" else "")
        if name == OURS.name:
            rows.append([*(f"**{cell}**" for cell in cells), ""])
        else:
            rows.append([*cells, times(median(ratios))])
    head = [
        "",
        "hits/s",
        "p50",
        "p99",
        "store's CPU a hit",
        "this project is faster by a factor of",
    ]
    return table(head, rows)


def _goals(report: Report) -> str:
    return table(
        ["", "measured", "goal", ""],
        [
            [goal.text, f"{goal.measure:.2f}", goal.limit, "met" if goal.met else "missed"]
            for goal in report.goals()
        ],
    )


def _connections(report: Report) -> str:
    series = _series(report)
    image = f"![{line_chart.describe(series)}](bench-connections.svg)"
    rows = []
    for name, points in series.items():
        rows.append([name, "hits/s", *map(line_chart.describe_rate, points)])
        latencies = ["none" if point.p99 is None else f"{point.p99:,.1f} ms" for point in points]
        rows.append(["", "p99", *latencies])
    numbers = [f"{point.connections:,}" for point in next(iter(series.values()))]
    return f"{image}\n\n{table(['connections', '', *numbers], rows)}"


def _variants(report: Report) -> str:
    return table(
        ["", "hits/s"],
        [
            [name, f"{median(load.rate for load in loads):,.0f}"]
            for name, loads in report.variants.items()
        ],
    )


def _series(report: Report) -> dict[str, list[Point]]:
    """Return the points of the contestants, this service first."""
    names = sorted(report.sweep, key=lambda name: name != OURS.name)
    return {name: summarize(report.sweep[name]) for name in names}


def _machine(report: Report) -> str:
    return f"{report.machine['cores']} cores, {report.machine['store']}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(
        f"| {' | '.join(row)} |".replace("  ", " ") for row in (head, ["---"] * len(head), *rows)
    )
