"""Reports of the results: text, JSON and chart."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from statistics import median
from typing import Any

from .chart import draw
from .contestants import CONSTANTS, FASTAPI, FLASK_RUN, GUNICORN, OURS, WEBDIS
from .inprocess import InProcess
from .race import Results

_PACKAGES = ("flask", "redis", "granian", "uvloop", "gunicorn", "fastapi", "uvicorn")


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal and its measurement.

    :ivar text: the measured quantity.
    :ivar bound: minimum or maximum of the measure.
    :ivar at_least: whether the bound is a minimum.
    :ivar samples: one value per round; their median is the measure.
    """

    text: str
    bound: float
    at_least: bool
    samples: Sequence[float]

    @property
    def measure(self) -> float:
        """The median of the samples."""
        return median(self.samples)

    @property
    def met(self) -> bool:
        """Whether the measure is within the bound."""
        return self.measure >= self.bound if self.at_least else self.measure <= self.bound


def goals(results: Results, library: InProcess) -> list[Goal]:
    """Return the goals with their measurements."""
    best = max(CONSTANTS, key=lambda one: median(load.rate for load in results.loads[one.name]))
    incr = [*results.store_cpu[FASTAPI.name], *results.store_cpu[GUNICORN.name]]
    cpu = [used / median(incr) for used in results.store_cpu[OURS.name]]
    p99 = zip(results.loads[OURS.name], results.loads[best.name], strict=True)
    memory = [max(worker["rss"] for worker in results.memory)]
    judged = [
        Goal(f"ours / {best.name[1:-1]}", 2, True, results.ratio(OURS, best)),
        Goal("p99, ours / the same", 1, False, [ours.p99 / theirs.p99 for ours, theirs in p99]),
        Goal("ours / demo, gunicorn", 10, True, results.ratio(OURS, GUNICORN)),
        Goal("ours / demo, flask run", 4, True, results.ratio(OURS, FLASK_RUN)),
        Goal("ours / FastAPI", 3.5, True, results.ratio(OURS, FASTAPI)),
    ]
    if WEBDIS.name in results.loads:
        judged.append(Goal("ours / webdis", 0.7, True, results.ratio(OURS, WEBDIS)))
    return [
        *judged,
        Goal("store's CPU a hit, ours / INCR's", 1, False, cpu),
        Goal("hit() / incr(), 16 threads", 5, True, library.ratios(16)),
        Goal("hit() / incr(), 1 thread", 0.8, True, library.ratios(1)),
        Goal("single hit's p50 / without batcher", 1.1, False, library.latency_ratios()),
        Goal("start to first answer, s", 2, False, results.startups),
        Goal("largest worker's RSS, MB", 60, False, memory),
    ]


def as_text(results: Results, library: InProcess, machine: dict[str, Any]) -> str:
    """Return the report as text."""
    lines = ["", f"{'':34}{'requests/s':>10}  {'(min-max)':<16}{'p50 ms':>8}{'p99 ms':>8}"]
    lines[1] += f"{'store us':>10}"
    for name, loads in results.loads.items():
        rates = [load.rate for load in loads]
        spread = f"({min(rates):,.0f}-{max(rates):,.0f})"
        p50, p99 = median(load.p50 for load in loads), median(load.p99 for load in loads)
        lines.append(f"{name:34}{median(rates):>10,.0f}  {spread:<16}{p50:>8.1f}{p99:>8.1f}")
        lines[-1] += f"{median(results.store_cpu[name]):>10.1f}"
    for threads, pairs in library.rates.items():
        ours, theirs = (median(rates) for rates in zip(*pairs, strict=True))
        lines.append(
            f"in-process, {threads:2} threads: hit() {ours:,.0f}/s, incr() {theirs:,.0f}/s"
        )
    judged = goals(results, library)
    lines += ["", f"{'':34}{'median':>10}  {'(min-max)':<16}{'goal':>8}"]
    for goal in judged:
        spread = f"({min(goal.samples):.2f}-{max(goal.samples):.2f})"
        bound = f"{'>=' if goal.at_least else '<='} {goal.bound:g}"
        verdict = "pass" if goal.met else "MISSED"
        lines.append(f"{goal.text:34}{goal.measure:>10.2f}  {spread:<16}{bound:>8}  {verdict}")
    workers = ", ".join(f"{worker['pss']:.1f}" for worker in results.memory)
    lines += ["", f"our workers' PSS in MB: {workers}"]
    lines += [", ".join(f"{name} {value}" for name, value in machine.items())]
    if missed := [goal.text for goal in judged if not goal.met]:
        lines += ["", f"MISSED: {'; '.join(missed)}"]
    return "\n".join(lines)


def as_svg(results: Results, machine: dict[str, Any]) -> str:
    """Return the chart for the README."""
    rates = {name: median(load.rate for load in loads) for name, loads in results.loads.items()}
    note = f"hits a second, 64 connections, {machine['cores']} cores, {machine['store']}"
    return draw(rates, ours=OURS.name, note=note)


def as_json(results: Results, library: InProcess, machine: dict[str, Any]) -> dict[str, Any]:
    """Return all results per round."""
    return {
        "machine": machine,
        "goals": [
            asdict(goal) | {"measure": goal.measure, "met": goal.met}
            for goal in goals(results, library)
        ],
        "loads": {
            name: [asdict(load) | {"rate": load.rate} for load in loads]
            for name, loads in results.loads.items()
        },
        "store_cpu": results.store_cpu,
        "library": asdict(library),
        "startups": results.startups,
        "memory": results.memory,
    }


def describe_machine(store: str) -> dict[str, Any]:
    """Return the versions and the machine that the results depend on.

    :param store: the store's name and version.
    """
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
        "store": store,
    }
