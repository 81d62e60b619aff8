"""The findings of a doctor, printed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from textwrap import wrap

import click

from ..console import FAILED
from .result import Diagnostic


def print_report(findings: Iterable[Diagnostic], as_json: bool) -> None:
    """Print findings, and end with exit code 1 where there is something to do."""
    found = list(findings)
    if as_json:
        click.echo(json.dumps([finding.as_dict() for finding in found]))
    else:
        _print(found)
    if any(finding.status != "ok" for finding in found):
        raise SystemExit(FAILED)


def _print(found: list[Diagnostic]) -> None:
    colors = {"ok": "green", "warning": "yellow", "failure": "red"}
    subjects = max(len(finding.subject) for finding in found)
    room = max(30, min(100, shutil.get_terminal_size().columns) - subjects - 11)
    for finding in found:
        head = f"{click.style(f'{finding.status:<7}', fg=colors[finding.state])}  "
        head += f"{finding.subject:<{subjects}}  "
        texts = [finding.message] + ([f"→ {finding.remedy}"] if finding.remedy else [])
        for text in texts:
            for line in wrap(text, room):
                click.echo(head + line, color=_color())
                head = " " * (subjects + 11)


def _color() -> bool | None:
    """Whether there are colors; None: where there is a terminal (https://no-color.org)."""
    return False if os.environ.get("NO_COLOR") else None
