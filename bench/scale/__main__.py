"""``python -m bench.scale``: measure clusters of one to three masters, and simulate larger ones.

The service has two workers and the same clients in front of each cluster. Masters of which each
gets a tenth of a core show how the rate rises with their number while the workers have time left;
that needs the right to write control groups.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median

from ..load import find_wrk
from ..pages import table
from .costs import Costs, fit
from .measurement import Cluster, running_clusters
from .sample import Sample, Setup
from .simulation import Place, simulate

SIZES = (1, 2, 3)
MANY = 1000

#: Numbers of clients: few, so that round trips have few hits, and many.
CONNECTIONS = (16, 64, 256)

#: Share of a core of a limited master, and the number of clients that keep it busy.
SHARE, LIMITED_CONNECTIONS = 0.1, 256

#: Seconds between machines of one data centre, one way.
DELAY = 0.0001

#: Clients of each worker, and hits of each simulation.
CLIENTS, SIMULATED_HITS = 128, 100_000

#: Simulated masters and workers of the table beyond this machine.
LARGER = ((1, 2), (1, 4), (1, 8), (1, 16), (2, 16), (4, 16), (4, 32), (8, 32), (8, 64), (16, 64))


def main() -> None:
    """Measure, fit, simulate, print the tables, and write the results to a file."""
    options = _parse()
    if find_wrk() is None:
        sys.exit("bench: wrk is not on PATH; install it, for example with: apt-get install wrk")
    began = time.monotonic()
    with running_clusters(SIZES) as clusters:
        if not (can_limit := all(cluster.can_limit for cluster in clusters)):
            print("skipped: limited masters: control groups cannot be written (run as root)")
        _warm_up(clusters)
        samples = [
            _measure(cluster, setup, options.seconds)
            for turn in range(options.rounds)
            for setup in _setups(can_limit)
            for cluster in (*clusters[turn % len(clusters) :], *clusters[: turn % len(clusters)])
        ]
    costs = fit([sample for sample in samples if sample.setup.share is None])
    print(f"\n{_describe(costs)}\n")
    print(_compare(samples, costs), "\n")
    print(_extrapolate(costs))
    print(f"\nmeasured in {(time.monotonic() - began) / 60:.1f} minutes")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    results = {"costs": asdict(costs), "samples": [asdict(sample) for sample in samples]}
    options.json.write_text(json.dumps(results, indent=2) + "\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each setup (%(default)s)")
    parser.add_argument("--seconds", type=int, default=3, help="duration of each run (%(default)s)")
    parser.add_argument(
        "--json", type=Path, default=Path("artifacts/scale.json"), help="file for the results"
    )
    return parser.parse_args()


def _setups(can_limit: bool) -> list[Setup]:
    """Return what is measured on each cluster; the number of masters is filled in later."""
    return [
        Setup(0, counters, connections) for counters in (1, MANY) for connections in CONNECTIONS
    ] + [Setup(0, counters, LIMITED_CONNECTIONS, SHARE) for counters in (1, MANY) if can_limit]


def _warm_up(clusters: Sequence[Cluster]) -> None:
    """Create all counters."""
    for cluster in clusters:
        cluster.measure(Setup(cluster.masters, MANY, CONNECTIONS[0]), 1)


def _measure(cluster: Cluster, setup: Setup, seconds: int) -> Sample:
    sample = cluster.measure(replace(setup, masters=cluster.masters), seconds)
    print(f"{_name(sample.setup)}: {sample.rate:,.0f}/s", flush=True)
    return sample


def _name(setup: Setup) -> str:
    limit = "" if setup.share is None else f", each {setup.share:g} of a core"
    masters = f"{setup.masters} master{'s' if setup.masters > 1 else ''}{limit}"
    counters = "1 counter" if setup.counters == 1 else f"{setup.counters:,} counters"
    return f"{counters}, {setup.connections} clients, {masters}"


def _describe(costs: Costs) -> str:
    """Return the costs in microseconds."""
    return "CPU time: " + ", ".join(
        f"{name.replace('_', ' ')} {seconds * 1e6:.1f} µs"
        for name, seconds in asdict(costs).items()
    )


def _compare(samples: Sequence[Sample], costs: Costs) -> str:
    """Return the medians of all setups beside the simulation of this machine."""
    rows = []
    place = Place(cores=os.cpu_count())
    for setup in dict.fromkeys(sample.setup for sample in samples):
        runs = [sample for sample in samples if sample.setup == setup]
        rate = median(run.rate for run in runs)
        busiest = median(max(run.store_cpu) / run.seconds for run in runs)
        simulated = simulate(setup, costs, place, hits=SIMULATED_HITS)
        rows.append(
            [
                _name(setup),
                f"{rate:,.0f}",
                f"{median(run.hits / run.calls for run in runs):.1f}",
                f"{median(sum(run.store_cpu) / run.hits for run in runs) * 1e6:.1f} µs",
                f"{median(run.worker_cpu / run.hits for run in runs) * 1e6:.1f} µs",
                f"{busiest:.0%}",
                f"{simulated.rate:,.0f}",
                f"{simulated.rate / rate:.2f}",
            ]
        )
    head = ["", "hits/s", "hits a call", "stores' CPU a hit", "workers' CPU a hit"]
    head += ["busiest master", "simulated", "simulated / measured"]
    return table(head, rows)


def _extrapolate(costs: Costs) -> str:
    """Return the simulated rates of larger clusters, whose processes have a core each."""
    rows = []
    for masters, workers in LARGER:
        cells = [f"{masters}", f"{workers}"]
        for names in (MANY, 1):
            setup = Setup(masters, names, CLIENTS * workers, None, workers)
            found = simulate(setup, costs, Place(delay=DELAY), hits=SIMULATED_HITS)
            cells += [f"{found.rate:,.0f}", f"{found.p99:.1f} ms", f"{found.busy:.0%}"]
        rows.append(cells)
    head = ["masters", "workers"]
    for counters in ("many counters", "one counter"):
        head += [f"{counters}: hits/s", "p99", "busiest master"]
    return table(head, rows)


if __name__ == "__main__":
    main()
