"""Draws docs/terminal.svg: what the command line shows, really run, of a week of hits."""

from __future__ import annotations

import argparse
import json
import os
import pty
import re
import shlex
import subprocess
import sys
import tempfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 78

#: What is typed.
TYPED = (
    "flask-redis-counter hit orders",
    "flask-redis-counter list",
    "flask-redis-counter series orders --days 7",
    "flask-redis-counter doctor",
)

HITS = (310, 274, 402, 391, 455, 188, 164)


def main() -> None:
    """Run the commands, and draw what they have shown."""
    parser = argparse.ArgumentParser(prog="python -m tools.picture", description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=Path("docs/terminal.svg"))
    file = parser.parse_args().file
    console = Console(record=True, width=WIDTH, force_terminal=True, file=StringIO())
    with tempfile.TemporaryDirectory() as folder:
        bring_in(folder)
        for typed in TYPED:
            console.print(Text.assemble(("$ ", "bold red"), (typed, "bold")))
            console.print(Text.from_ansi(shown(typed, folder)))
    drawn = console.export_svg(title="flask-redis-counter")
    # A picture loads no font from elsewhere; each text has its length, whatever the font.
    file.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL), "utf-8")


def bring_in(folder: str) -> None:
    """Let there be some counters."""
    today = datetime.now(UTC)
    dates = [f"{today - timedelta(days=6 - ago):%Y-%m-%d}" for ago in range(7)]
    days = {
        date: {"hits": hits, "visitors": hits * 2 // 3}
        for date, hits in zip(dates, HITS, strict=True)
    }
    records = [
        {"name": "front-page", "value": 41_337},
        {"name": "orders", "value": 9_417, "days": days},
    ]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    command = [*_program(), "import", "-", "--source", "the picture"]
    subprocess.run(command, input=lines.encode(), env=_environment(folder), check=True)


def shown(typed: str, folder: str) -> str:
    """Return what a command shows in a terminal, colors and all."""
    ours, theirs = pty.openpty()
    command = [*_program(), *shlex.split(typed)[1:]]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=_environment(folder)):
        os.close(theirs)
        output = b""
        with suppress(OSError):  # that is how a terminal says that the other end is closed
            while chunk := os.read(ours, 4096):
                output += chunk
    os.close(ours)
    # No place of this machine belongs into a picture.
    return output.decode().replace("\r\n", "\n").replace(folder, "/data").rstrip("\n")


def _program() -> list[str]:
    return [sys.executable, "-m", "flask_redis_counter"]


def _environment(folder: str) -> dict[str, str]:
    ours = {"COUNTER_DATA_DIR": folder, "COLUMNS": str(WIDTH), "TERM": "xterm-256color"}
    return {**os.environ, **ours, "REDIS_URL": "", "REDIS_HOST": "", "REDIS_PORT": ""}


if __name__ == "__main__":
    main()
