"""``python -m tools.public_types``: check that the public API has complete types, with pyright.

``pyright --verifytypes`` checks every module of the package. This reads its report and fails only
for names in the ``__all__`` of a public module, including everything that their types refer to.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from typing import Any

PACKAGE = "flask_redis_counter"
PUBLIC_MODULES = (PACKAGE, *(f"{PACKAGE}.{name}" for name in ("errors", "stats", "transfer")))
COMMAND = ("pyright", "--verifytypes", PACKAGE, "--ignoreexternal", "--outputjson")


def public_names() -> set[str]:
    """Return the qualified names of the public API, without the test harness."""
    return {
        f"{module}.{name}"
        for module in PUBLIC_MODULES
        for name in import_module(module).__all__
        if not name.startswith("_")  # pyright does not report __version__
    }


def incomplete_symbols(report: Mapping[str, Any], names: Collection[str]) -> Iterator[str]:
    """Yield a line for each name whose type is incomplete, and for each cause of that.

    :param report: the output of ``pyright --outputjson``.
    """
    symbols = report["typeCompleteness"]["symbols"]
    missing = set(names) - {symbol["name"] for symbol in symbols}
    yield from (f"{name}: not found by pyright" for name in sorted(missing))
    incomplete = [symbol for symbol in symbols if not symbol["isTypeKnown"]]
    public = sorted(symbol["name"] for symbol in incomplete if symbol["name"] in names)
    yield from (f"{name}: incomplete type" for name in public)
    if public:
        for symbol in incomplete:
            for diagnostic in symbol["diagnostics"]:
                yield f"  {symbol['name']}: {' '.join(diagnostic['message'].split())}"


def main() -> int:
    """Run pyright, print the incomplete names, and return the exit code."""
    ended = subprocess.run(COMMAND, capture_output=True, text=True)
    try:
        report = json.loads(ended.stdout)
        problems = list(incomplete_symbols(report, public_names()))
    except (ValueError, KeyError):
        print(ended.stdout, ended.stderr, sep="\n")
        return 2
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"{len(public_names())} public names checked, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
