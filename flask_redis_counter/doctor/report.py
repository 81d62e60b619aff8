"""Output of `doctor`: a table or JSON, and the exit code."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from textwrap import wrap

import click

from ..console import FAILED
from .result import Diagnostic


def print_report(results: Iterable[Diagnostic], as_json: bool) -> None:
    """Print the results; end with exit code 1 if one of them is not ``ok``."""
    diagnostics = list(results)
    if as_json:
        click.echo(json.dumps([diagnostic.as_dict() for diagnostic in diagnostics]))
    else:
        _print_table(diagnostics)
    if any(diagnostic.status != "ok" for diagnostic in diagnostics):
        raise SystemExit(FAILED)


def _print_table(diagnostics: list[Diagnostic]) -> None:
    colors = {"ok": "green", "warning": "yellow", "failure": "red"}
    subject_width = max(len(diagnostic.subject) for diagnostic in diagnostics)
    indent = subject_width + 11
    text_width = max(30, min(100, shutil.get_terminal_size().columns) - indent)
    for diagnostic in diagnostics:
        status = click.style(f"{diagnostic.status:<7}", fg=colors[diagnostic.status])
        head = f"{status}  {diagnostic.subject:<{subject_width}}  "
        texts = [diagnostic.message]
        if diagnostic.remedy:
            texts.append(f"→ {diagnostic.remedy}")
        for text in texts:
            for line in wrap(text, text_width):
                click.echo(head + line, color=_color())
                head = " " * indent


def _color() -> bool | None:
    """Return False to disable colors (https://no-color.org), None to let click decide."""
    return False if os.environ.get("NO_COLOR") else None
