"""``nox --json --list … | python -m tools.matrix``: a table of the results of all sessions.

Reads the list of sessions from nox and the results from pytest's JUnit XML. The table shows
sessions that have not run, results that are older than the code, and skipped tests.
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

#: Folders whose files make older results stale.
CODE = ("flask_redis_counter", "tests")
#: The sessions' results, and the tables made of them.
RESULTS = Path("artifacts/junit")
MARKDOWN = Path("artifacts/matrix.md")
HTML = Path("artifacts/matrix.html")

_HEAD = ("session", "passed", "failed", "skipped", "seconds", "not covered, with reasons")


@dataclass(frozen=True, slots=True)
class Row:
    """A session's results.

    :ivar skips: number of skipped tests by reason.
    :ivar missing: the reason for missing results, or an empty string.
    :ivar old: whether the code or the tests are newer than the results.
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
        """The cells of the row."""
        if self.missing:
            return (self.session, "", "", "", "", self.missing)
        reasons = [f"{number}x {reason}" for reason, number in self.skips.most_common() if reason]
        if self.old:
            reasons.insert(0, "older than the code")
        numbers = (self.passed, self.failed, self.skips.total(), f"{self.seconds:.0f}")
        return (self.session, *map(str, numbers), "; ".join(reasons))


def read_results(session: str, file: Path, changed: float) -> Row:
    """Read a session's results; an unreadable file counts as a failure."""
    try:
        root = ElementTree.parse(file).getroot()  # noqa: S314  # written by pytest
    except ElementTree.ParseError as error:
        return Row(session, failed=1, skips=Counter({f"{file.name} is broken: {error}": 0}))
    cases = list(root.iter("testcase"))
    skips = Counter(skip_reason(skip) for case in cases for skip in case.iter("skipped"))
    failed = sum(
        case.find("failure") is not None or case.find("error") is not None for case in cases
    )
    seconds = sum(float(suite.get("time", 0)) for suite in root.iter("testsuite"))
    old = file.stat().st_mtime < changed
    return Row(session, len(cases) - failed - skips.total(), failed, seconds, skips, old=old)


def skip_reason(skip: ElementTree.Element) -> str:
    """Return the reason of a skip in one line. For a whole module only the text has it."""
    message = skip.get("message", "no reason").partition("\n")[0]
    if message == "collection skipped":
        _, _, message = ast.literal_eval(str(skip.text))  # file, line and reason
    return message.removeprefix("Skipped: ")


def last_change() -> float:
    """Return the time of the last change of code and tests, in seconds since the epoch."""
    files = (path for folder in CODE for path in Path(folder).rglob("*") if path.suffix != ".pyc")
    return max((path.stat().st_mtime for path in files if path.is_file()), default=0)


def make_rows(sessions: Iterable[Mapping[str, str]], folder: Path, changed: float) -> list[Row]:
    """Return a row for each session, in their order, and a row with the sums."""
    found = []
    for session in sessions:
        name, python = session["session"], session.get("python")
        file = folder / f"{name}.xml"
        if file.exists():
            found.append(read_results(name, file, changed))
        elif python and not shutil.which(f"python{python}"):
            found.append(Row(name, missing=f"not run: Python {python} is not installed"))
        else:
            found.append(Row(name, missing="not run"))
    numbers = (sum(getattr(row, name) for row in found) for name in ("passed", "failed", "seconds"))
    skips = Counter({"": sum(row.skips.total() for row in found)})
    return [*found, Row("all", *numbers, skips)]


def as_text(table: Sequence[Sequence[str]]) -> str:
    """Return the table as text for a terminal."""
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
    """Return the table as Markdown."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
    lines.insert(1, "|---|--:|--:|--:|--:|---|")
    return "\n".join(lines) + "\n"


def as_html(table: Sequence[Sequence[str]]) -> str:
    """Return the table as an HTML page."""
    cells = [[html.escape(cell) for cell in row] for row in table]
    body = "".join(f"<tr><td>{'<td>'.join(row)}" for row in cells[1:])
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Test results</title>'
        "<style>body{font:1rem system-ui;margin:2rem}td,th{padding:.2rem .8rem;text-align:left}"
        "td:nth-child(-n+5):not(:first-child){text-align:right}</style>"
        f"<h1>Test results</h1><table><tr><th>{'<th>'.join(cells[0])}{body}</table></html>\n"
    )


def main() -> None:
    """Print and write the table; exit with 1 if a session has failed."""
    found = make_rows(json.load(sys.stdin), RESULTS, last_change())
    table = [_HEAD, *(row.cells for row in found)]
    print(as_text(table))
    MARKDOWN.parent.mkdir(parents=True, exist_ok=True)
    MARKDOWN.write_text(as_markdown(table), "utf-8")
    HTML.write_text(as_html(table), "utf-8")
    print(f"\nwritten to {MARKDOWN} and {HTML}")
    sys.exit(any(row.failed for row in found))


if __name__ == "__main__":
    main()
