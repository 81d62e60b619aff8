"""``python -m bench``: run the benchmarks and report the results."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path

from . import pages, report, sweep
from .contestants import CONTESTANTS, OURS, SWEPT, WEBDIS
from .inprocess import measure
from .load import allow_connections, find_wrk
from .race import run_race
from .server import measure_startups, running_servers
from .store import running_store, version
from .sweep import run_sweep
from .variants import run_variants

#: Maximum rounds, and seconds of each run, of the measurements beside the race.
ROUNDS, SECONDS = 3, 3


def main() -> None:
    """Run the benchmarks, print the report, and write the results to a file."""
    options = _parse()
    if find_wrk() is None:
        sys.exit("bench: wrk is not on PATH; install it, for example with: apt-get install wrk")
    if options.docs and not (WEBDIS.is_present and options.connections):
        sys.exit("bench: --docs needs webdis (apt-get install webdis) and numbers of connections")
    if not allow_connections(most := max(options.connections, default=0)):
        sys.exit(f"bench: too few open files for {most} connections; raise the limit (ulimit -Hn)")
    # Exit through the context managers, which stop the servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    began = time.monotonic()
    present = [contestant for contestant in CONTESTANTS if contestant.is_present]
    for contestant in CONTESTANTS:
        if contestant not in present:
            print(f"skipped: {contestant.name}: {contestant.needs} is not on PATH")
    rounds = options.rounds
    beside = {"rounds": min(rounds, ROUNDS), "seconds": min(options.seconds, SECONDS)}
    with running_store() as store:
        machine = report.describe_machine(version(store))
        library = measure(store, rounds=rounds)
        startups = measure_startups(OURS, store)
        with running_servers(present, store) as servers:
            [ours] = [server for server in servers if server.contestant is OURS]
            race = run_race(servers, store, rounds=rounds, seconds=options.seconds)
            memory = ours.worker_memory()
            swept = run_sweep(
                [server for server in servers if server.contestant in SWEPT],
                store,
                connections=options.connections,
                **beside,
            )
            # Last, because the store keeps the idempotency keys.
            variants = run_variants(ours, store, **beside)
    measured = report.Report(race, swept, variants, library, startups, memory, machine)
    print(measured.as_text())
    print(f"\nmeasured in {(time.monotonic() - began) / 60:.1f} minutes")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(measured.as_json(), indent=2) + "\n")
    if options.docs:
        pages.write(measured)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=5, help="runs of each contestant (%(default)s)"
    )
    parser.add_argument("--seconds", type=int, default=5, help="duration of each run (%(default)s)")
    parser.add_argument(
        "--connections",
        type=int,
        nargs="*",
        default=list(sweep.CONNECTIONS),
        metavar="N",
        help=f"numbers of connections for the sweep ({' '.join(map(str, sweep.CONNECTIONS))})",
    )
    parser.add_argument(
        "--docs", action="store_true", help="write the charts and figures in README.md and docs/"
    )
    parser.add_argument("--json", type=Path, default=Path("artifacts/bench.json"), metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
