"""``mutmut results --all=true | python -m tools.mutation FLOOR``: the score of each module.

A mutant whose tests time out counts as killed; a mutant without tests does not.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

#: File for the table and the names of the mutants that were not killed.
MARKDOWN = Path("artifacts/mutation.md")

_PACKAGE = "flask_redis_counter."
_HEAD = ("module", "mutants", "killed", "survived", "timed out", "no tests", "score")


def parse_results(lines: Iterable[str]) -> dict[str, str]:
    """Return the status of each mutant that was tested."""
    pairs = (line.strip().rpartition(": ") for line in lines)
    return {name: status for name, _, status in pairs if name and status != "not checked"}


def make_row(module: str, found: Counter[str]) -> tuple[str, ...]:
    """Return a row of the table; a mutant with any other status has survived."""
    killed, late, untested = (found[status] for status in ("killed", "timeout", "no tests"))
    survived = found.total() - killed - late - untested
    numbers = (found.total(), killed, survived, late, untested)
    return (module, *map(str, numbers), f"{score(found):.1f} %")


def score(found: Counter[str]) -> float:
    """Return the percentage of killed mutants."""
    return 100 * (found["killed"] + found["timeout"]) / found.total()


def as_text(table: Sequence[Sequence[str]]) -> str:
    """Return the table as text for a terminal."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        for cells in table
    )


def as_markdown(table: Sequence[Sequence[str]]) -> str:
    """Return the table as Markdown."""
    lines = [f"| {' | '.join(cells)} |" for cells in table]
    lines.insert(1, "|---" + "|--:" * (len(_HEAD) - 1) + "|")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print and write the table; exit with 1 if the score is below the floor."""
    results = parse_results(sys.stdin)
    if not results:
        sys.exit("no mutants were tested")
    modules: dict[str, Counter[str]] = {}
    for name, status in results.items():
        module = name.rpartition(".")[0].removeprefix(_PACKAGE)
        modules.setdefault(module, Counter())[status] += 1
    every = Counter(results.values())
    table = [_HEAD, *(make_row(*module) for module in modules.items()), make_row("all", every)]
    alive = [f"{name}: {it}" for name, it in results.items() if it not in ("killed", "timeout")]
    MARKDOWN.parent.mkdir(parents=True, exist_ok=True)
    MARKDOWN.write_text(
        "\n".join([as_markdown(table), *(f"- {one}" for one in alive), ""]), "utf-8"
    )
    print(*alive, "", as_text(table), sep="\n")
    print(f"\nwritten to {MARKDOWN}; `mutmut show NAME` shows a mutant")
    if score(every) < int(sys.argv[1]):
        sys.exit(f"the score is below {sys.argv[1]} %")


if __name__ == "__main__":
    main()
