"""``python -m bench.scale``: measure clusters of one to three masters, and simulate larger ones.

The service has two workers and the same clients in front of each cluster. Masters of which each
gets a tenth of a core show how the rate rises with their number while the workers have time left;
that needs the right to write control groups.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from ..load import find_wrk
from .costs import fit
from .measurement import Cluster, running_clusters
from .report import Report, describe
from .sample import Sample, Setup

SIZES = (1, 2, 3)
MANY = 1000

#: Numbers of clients: few, so that round trips have few hits, and many.
CONNECTIONS = (16, 64, 256)

#: Share of a core of a limited master, and the number of clients that keep it busy.
SHARE, LIMITED_CONNECTIONS = 0.1, 256


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
    report = Report(samples, costs, MANY)
    for text in report.blocks().values():
        print(f"\n{text}")
    print(f"\nmeasured in {(time.monotonic() - began) / 60:.1f} minutes")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    results = {"costs": asdict(costs), "samples": [asdict(sample) for sample in samples]}
    options.json.write_text(json.dumps(results, indent=2) + "\n")
    if options.docs:
        report.write()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each setup (%(default)s)")
    parser.add_argument("--seconds", type=int, default=3, help="duration of each run (%(default)s)")
    parser.add_argument(
        "--json", type=Path, default=Path("artifacts/scale.json"), help="file for the results"
    )
    parser.add_argument("--docs", action="store_true", help="write the tables of docs/scale.md")
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
    print(f"{describe(setup)}, masters: {cluster.masters}: {sample.rate:,.0f}/s", flush=True)
    return sample


if __name__ == "__main__":
    main()
