"""``nox --json --list … | python -m tools.matrix``: what was covered, where, in one table.

Reads which sessions there are (nox) and what pytest has left of each (JUnit's XML), so that a
session that nobody has run, results that the code has outlived, and skipped tests are seen.
"""

from __future__ import annotations

import ast
import html
import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

#: What a result is about.
CODE = ("flask_redis_counter", "tests")
#: Where the sessions leave their results, and where the tables go.
RESULTS = Path("artifacts/junit")
MARKDOWN = Path("artifacts/matrix.md")
HTML = Path("artifacts/matrix.html")

_HEAD = ("session", "passed", "failed", "skipped", "seconds", "not covered, and why")


@dataclass(frozen=True, slots=True)
class Row:
    """A session's results.

    :ivar skips: how many tests were skipped for which reason.
    :ivar missing: why there are none.
    :ivar old: whether the project has changed since.
    """

    session: str
    passed: int = 0
    failed: int = 0
    seconds: float = 0.0
    skips: Counter[str] = field(default_factory=Counter)
    missing: str = ""
    old: bool = False

    @property
    def cells(self) -> tuple[str, ...]:
        """What the table says."""
        if self.missing:
            return (self.session, "", "", "", "", self.missing)
        reasons = [f"{number}x {reason}" for reason, number in self.skips.most_common() if reason]
        if self.old:
            reasons.insert(0, "older than the code")
        numbers = (self.passed, self.failed, self.skips.total(), f"{self.seconds:.0f}")
        return (self.session, *map(str, numbers), "; ".join(reasons))


def read(session: str, file: Path, changed: float) -> Row:
    """Read a session's results; those that cannot be read have failed."""
    try:
        root = ElementTree.parse(file).getroot()  # noqa: S314  # pytest has written it
    except ElementTree.ParseError as error:
        return Row(session, failed=1, skips=Counter({f"{file.name} is broken: {error}": 0}))
    cases = list(root.iter("testcase"))
    skips = Counter(why(skip) for case in cases for skip in case.iter("skipped"))
    failed = sum(
        case.find("failure") is not None or case.find("error") is not None for case in cases
    )
    seconds = sum(float(suite.get("time", 0)) for suite in root.iter("testsuite"))
    old = file.stat().st_mtime < changed
    return Row(session, len(cases) - failed - skips.total(), failed, seconds, skips, old=old)


def why(skip: ElementTree.Element) -> str:
    """Return in one line why something was skipped; of a whole module only the text has it."""
    message = skip.get("message", "no reason").partition("\n")[0]
    if message == "collection skipped":
        _, _, message = ast.literal_eval(str(skip.text))  # file, line, and why
    return message.removeprefix("Skipped: ")


def last_change() -> float:
    """Return when the product or its tests were changed, in seconds since the epoch."""
    files = (path for folder in CODE for path in Path(folder).rglob("*") if path.suffix != ".pyc")
    return max((path.stat().st_mtime for path in files if path.is_file()), default=0)


def rows(sessions: Iterable[Mapping[str, str]], folder: Path, changed: float) -> list[Row]:
    """Return the results of all sessions, in their order, and their sum."""
    found = []
    for session in sessions:
        name, python = session["session"], session.get("python")
        file = folder / f"{name}.xml"
        if file.exists():
            found.append(read(name, file, changed))
        elif python and not shutil.which(f"python{python}"):
            found.append(Row(name, missing=f"not run: no Python {python} here"))
        else:
            found.append(Row(name, missing="not run"))
    numbers = (sum(getattr(row, name) for row in found) for name in ("passed", "failed", "seconds"))
    skips = Counter({"": sum(row.skips.total() for row in found)})
    return [*found, Row("all", *numbers, skips)]


def as_text(table: Sequence[Sequence[str]]) -> str:
    """Return a table for the terminal."""
    widths = [max(len(row[column]) for row in table) for column in range(len(_HEAD) - 1)]
    lines = []
    for row in table:
        first, *numbers = (
            cell.ljust(widths[0]) if i == 0 else cell.rjust(widths[i])
            for i, cell in enumerate(row[:-1])
        )
        lines.append("  ".join([first, *numbers, row[-1]]).rstrip())
    return "\n".join(lines)


def as_markdown(table: Sequence[Sequence[str]]) -> str:
    """Return a table for a page of the project."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
    lines.insert(1, "|---|--:|--:|--:|--:|---|")
    return "\n".join(lines) + "\n"


def as_html(table: Sequence[Sequence[str]]) -> str:
    """Return a table for a browser."""
    cells = [[html.escape(cell) for cell in row] for row in table]
    body = "".join(f"<tr><td>{'<td>'.join(row)}" for row in cells[1:])
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>What was covered</title>'
        "<style>body{font:1rem system-ui;margin:2rem}td,th{padding:.2rem .8rem;text-align:left}"
        "td:nth-child(-n+5):not(:first-child){text-align:right}</style>"
        f"<h1>What was covered</h1><table><tr><th>{'<th>'.join(cells[0])}{body}</table></html>\n"
    )


def main() -> None:
    """Print the table, write it down, and fail where a session has failed."""
    found = rows(json.load(sys.stdin), RESULTS, last_change())
    table = [_HEAD, *(row.cells for row in found)]
    print(as_text(table))
    MARKDOWN.parent.mkdir(parents=True, exist_ok=True)
    MARKDOWN.write_text(as_markdown(table), "utf-8")
    HTML.write_text(as_html(table), "utf-8")
    print(f"\n{MARKDOWN} and {HTML} have it as well")
    sys.exit(any(row.failed for row in found))


if __name__ == "__main__":
    main()
