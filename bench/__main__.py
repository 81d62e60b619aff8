"""``python -m bench``: run the benchmarks and report the results."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from . import report
from .contestants import CONTESTANTS
from .inprocess import measure
from .load import find_wrk
from .race import run_race
from .store import running_store, version


def main() -> None:
    """Run the benchmarks, print the report, and write the results to a file."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=5, help="runs of each contestant (%(default)s)"
    )
    parser.add_argument("--seconds", type=int, default=5, help="duration of each run (%(default)s)")
    parser.add_argument(
        "--connections", type=int, default=64, help="connections of wrk (%(default)s)"
    )
    parser.add_argument("--svg", type=Path, help="file for the chart", metavar="FILE")
    parser.add_argument("--json", type=Path, default=Path("artifacts/bench.json"), metavar="FILE")
    options = parser.parse_args()
    if find_wrk() is None:
        sys.exit("bench: wrk is not on PATH; install it, for example with: apt-get install wrk")
    # Exit through the context managers, which stop the servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with running_store() as store:
        machine = report.describe_machine(version(store))
        for contestant in CONTESTANTS:
            if not contestant.is_present:
                print(f"skipped: {contestant.name}: {contestant.needs} is not on PATH")
        present = [contestant for contestant in CONTESTANTS if contestant.is_present]
        results = run_race(
            present,
            store,
            rounds=options.rounds,
            seconds=options.seconds,
            connections=options.connections,
        )
        library = measure(store, rounds=options.rounds)
    print(report.as_text(results, library, machine))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    if options.svg:
        options.svg.write_text(report.as_svg(results, machine), "utf-8")
    options.json.write_text(json.dumps(report.as_json(results, library, machine), indent=2) + "\n")


if __name__ == "__main__":
    main()
