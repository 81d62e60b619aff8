"""Tables of the measurements and of the simulations, for the terminal and for docs/scale.md."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

from ..pages import ROOT, fill, table
from .costs import Costs, deviations
from .sample import Sample, Setup
from .simulation import Place, Simulated, simulate

#: Hits of each simulation.
HITS = 100_000

#: Seconds between machines of one data centre, one way.
DELAY = 0.0001

#: Clients of each worker of a larger cluster.
CLIENTS = 128

#: Masters and workers of larger clusters.
LARGER = ((1, 2), (1, 4), (1, 8), (1, 16), (2, 16), (4, 16), (4, 32), (8, 32), (8, 64), (16, 64))


@dataclass(frozen=True, slots=True)
class Report:
    """The samples of all rounds, and the costs fitted to them.

    :ivar many: number of counters where they are many.
    """

    samples: Sequence[Sample]
    costs: Costs
    many: int

    def blocks(self) -> dict[str, str]:
        """Return the tables and the costs by the names of their blocks in the docs."""
        return {"costs": self._costs(), "measured": self._measured(), "larger": self._larger()}

    def write(self, root: Path = ROOT) -> None:
        """Fill the blocks of docs/scale.md."""
        page = root / "docs" / "scale.md"
        page.write_text(fill(page.read_text("utf-8"), self.blocks()), "utf-8")

    def _costs(self) -> str:
        costs = {name: f"{seconds * 1e6:.0f} µs" for name, seconds in asdict(self.costs).items()}
        head = ["", "a hit", "a round trip", "a call: a counter in a round trip", "without hits"]
        head.append("fitted / measured")
        whole = [sample for sample in self.samples if sample.setup.share is None]
        ranges = [_range(ratios, whole) for ratios in deviations(whole, self.costs)]
        return table(
            head,
            [
                ["worker", costs["hit"], costs["batch"], costs["call"], "", ranges[0]],
                [
                    "master",
                    "",
                    costs["store_batch"],
                    costs["store_call"],
                    f"{self.costs.idle:.1%} of a core",
                    ranges[1],
                ],
            ],
        )

    def _measured(self) -> str:
        """Return measured and simulated rates, a row for each setup, a column for each size."""
        sizes = sorted({sample.setup.masters for sample in self.samples})
        rows = []
        for setup in dict.fromkeys(replace(sample.setup, masters=0) for sample in self.samples):
            cells = [describe(setup)]
            for masters in sizes:
                rate = median(sample.rate for sample in self._of(replace(setup, masters=masters)))
                place = Place(cores=os.cpu_count())
                found = self._simulate(replace(setup, masters=masters), place)
                cells.append(f"{rate:,.0f} ({found.rate:,.0f})")
            one, most = (self._of(replace(setup, masters=it)) for it in (sizes[0], sizes[-1]))
            gains = [more.rate / less.rate for less, more in zip(one, most, strict=True)]
            used = [sum(it.store_cpu) / it.hits * 1e6 for it in self._of(setup, any_size=True)]
            rows.append([*cells, f"{median(gains):.1f}", f"{median(used):.1f} µs"])
        head = ["", *(f"{it} master{'s' if it > 1 else ''}" for it in sizes)]
        return table([*head, f"{sizes[-1]} to {sizes[0]}", "stores' CPU a hit"], rows)

    def _larger(self) -> str:
        """Return simulated rates of clusters whose processes have a core each."""
        rows = []
        for masters, workers in LARGER:
            cells = [f"{masters}", f"{workers}"]
            for counters in (self.many, 1):
                setup = Setup(masters, counters, CLIENTS * workers, None, workers)
                found = self._simulate(setup, Place(delay=DELAY))
                busy = f"{found.master_busy:.0%}, {found.worker_busy:.0%}"
                cells += [f"{found.rate:,.0f}", f"{found.p99:.0f} ms", busy]
            rows.append(cells)
        head = ["masters", "workers"]
        for subject in (f"{self.many:,} counters", "one counter"):
            head += [f"{subject}: hits/s", "p99", "busiest master, worker"]
        return table(head, rows)

    def _simulate(self, setup: Setup, place: Place) -> Simulated:
        return simulate(setup, self.costs, place, hits=HITS)

    def _of(self, setup: Setup, *, any_size: bool = False) -> list[Sample]:
        """Return the samples of a setup in the order of the rounds."""
        return [
            sample
            for sample in self.samples
            if (replace(sample.setup, masters=0) if any_size else sample.setup) == setup
        ]


def _range(ratios: Sequence[float], samples: Sequence[Sample]) -> str:
    """Return the lowest and the highest median of the ratios of a setup."""
    by_setup: dict[Setup, list[float]] = {}
    for ratio, sample in zip(ratios, samples, strict=True):
        by_setup.setdefault(sample.setup, []).append(ratio)
    medians = [median(each) for each in by_setup.values()]
    return f"{min(medians):.2f} to {max(medians):.2f}"


def describe(setup: Setup) -> str:
    """Return a setup without its number of masters in words."""
    counters = "1 counter" if setup.counters == 1 else f"{setup.counters:,} counters"
    limit = "" if setup.share is None else f", {setup.share:g} of a core for each master"
    return f"{counters}, {setup.connections} clients{limit}"
