"""Report of all measurements, as text and JSON."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

from .goals import Goal, goals
from .inprocess import InProcess
from .load import Load
from .race import Results
from .sweep import Sweep, summarize

_PACKAGES = (
    "flask",
    "redis",
    "hiredis",
    "uvloop",
    "httptools",
    "granian",
    "gunicorn",
    "fastapi",
    "starlette",
    "uvicorn",
)


@dataclass(frozen=True, slots=True)
class Report:
    """All measurements.

    :ivar race: every contestant with the same number of connections.
    :ivar sweep: some contestants with few and with many connections.
    :ivar variants: this service with requests of several kinds.
    :ivar library: the library, without a server.
    :ivar startups: seconds from the start of this service to its first response.
    :ivar memory: memory of each worker of this service after the race, in MB.
    :ivar machine: the versions and the machine that the results depend on.
    """

    race: Results
    sweep: Sweep
    variants: Mapping[str, Sequence[Load]]
    library: InProcess
    startups: Sequence[float]
    memory: Sequence[dict[str, float]]
    machine: Mapping[str, Any]

    def goals(self) -> list[Goal]:
        """Return the goals with their measurements."""
        return goals(self.race, self.library, self.startups, self.memory)

    def as_text(self) -> str:
        """Return the report as text."""
        judged = self.goals()
        lines = [
            *self._race(),
            *self._sweep(),
            *self._miscounts(),
            "",
            *(
                f"{name:52}{median(load.rate for load in loads):>10,.0f}/s"
                for name, loads in self.variants.items()
            ),
            "",
            *self._library(),
            *_judge(judged),
            "",
            "our workers' PSS in MB: " + ", ".join(f"{each['pss']:.1f}" for each in self.memory),
            ", ".join(f"{name} {value}" for name, value in self.machine.items()),
        ]
        if missed := [goal.text for goal in judged if not goal.met]:
            lines += ["", f"MISSED: {'; '.join(missed)}"]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return all results per round."""
        return {
            "machine": dict(self.machine),
            "goals": [
                asdict(goal) | {"measure": goal.measure, "met": goal.met} for goal in self.goals()
            ],
            "loads": {name: _as_json(loads) for name, loads in self.race.loads.items()},
            "store_cpu": self.race.store_cpu,
            "connections": {
                name: {number: _as_json(rounds) for number, rounds in loads.items()}
                for name, loads in self.sweep.items()
            },
            "variants": {name: _as_json(loads) for name, loads in self.variants.items()},
            "library": asdict(self.library),
            "startups": self.startups,
            "memory": self.memory,
        }

    def _race(self) -> list[str]:
        lines = ["", f"{'':36}{'requests/s':>10}  {'(min-max)':<16}{'p50 ms':>8}{'p99 ms':>8}"]
        lines[1] += f"{'store us':>10}"
        for name, loads in self.race.loads.items():
            rates = [load.rate for load in loads]
            spread = f"({min(rates):,.0f}-{max(rates):,.0f})"
            p50, p99 = median(load.p50 for load in loads), median(load.p99 for load in loads)
            lines.append(f"{name:36}{median(rates):>10,.0f}  {spread:<16}{p50:>8.1f}{p99:>8.1f}")
            lines[-1] += f"{median(self.race.store_cpu[name]):>10.1f}"
        return lines

    def _sweep(self) -> list[str]:
        lines = []
        for name, loads in self.sweep.items():
            lines += ["", f"{name}, by connections"]
            for point in summarize(loads):
                p99 = "no response" if point.p99 is None else f"p99 {point.p99:,.1f} ms"
                errors = f"  {point.errors:,} errors" if point.errors else ""
                lines.append(f"{point.connections:>8,}{point.rate:>12,.0f}/s  {p99}{errors}")
        return lines

    def _miscounts(self) -> list[str]:
        miscounts: Counter[str] = Counter()
        for name, loads in self.race.loads.items():
            miscounts[name] += sum(load.miscounted for load in loads)
        for name, rounds in self.sweep.items():
            miscounts[name] += sum(load.miscounted for loads in rounds.values() for load in loads)
        return [f"MISCOUNTED in {runs} runs: {name}" for name, runs in miscounts.items() if runs]

    def _library(self) -> list[str]:
        medians = {
            threads: [median(rates) for rates in zip(*pairs, strict=True)]
            for threads, pairs in self.library.rates.items()
        }
        return [
            f"in-process, {threads:2} threads: hit() {ours:,.0f}/s, incr() {theirs:,.0f}/s"
            for threads, (ours, theirs) in medians.items()
        ]


def describe_machine(store: str) -> dict[str, Any]:
    """Return the versions and the machine that the results depend on.

    :param store: the store's name and version.
    """
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            machine[package] = version(package)
        except PackageNotFoundError:
            continue
    return machine | {"store": store}


def _judge(judged: Sequence[Goal]) -> list[str]:
    lines = ["", f"{'':38}{'median':>8}  {'(min-max)':<16}{'goal':>8}"]
    for goal in judged:
        spread = f"({min(goal.samples):.2f}-{max(goal.samples):.2f})"
        verdict = "pass" if goal.met else "MISSED"
        lines.append(f"{goal.text:38}{goal.measure:>8.2f}  {spread:<16}{goal.limit:>8}  {verdict}")
    return lines


def _as_json(loads: Sequence[Load]) -> list[dict[str, Any]]:
    return [asdict(load) | {"rate": load.rate} for load in loads]
