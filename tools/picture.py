"""Draws docs/terminal.svg from the real output of commands, for a week of hits."""

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

#: Commands to run.
COMMANDS = (
    "flask-redis-counter hit orders",
    "flask-redis-counter list",
    "flask-redis-counter series orders --days 7",
    "flask-redis-counter doctor",
)

#: Hits of the last seven days.
HITS = (310, 274, 402, 391, 455, 188, 164)


def main() -> None:
    """Run the commands, and draw their output."""
    parser = argparse.ArgumentParser(prog="python -m tools.picture", description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=Path("docs/terminal.svg"))
    file = parser.parse_args().file
    console = Console(record=True, width=WIDTH, force_terminal=True, file=StringIO())
    with tempfile.TemporaryDirectory() as folder:
        import_counters(folder)
        for command in COMMANDS:
            console.print(Text.assemble(("$ ", "bold red"), (command, "bold")))
            console.print(Text.from_ansi(run_in_terminal(command, folder)))
    svg = console.export_svg(title="flask-redis-counter")
    # Fonts from other hosts are removed: each text has its length, so any font fits.
    file.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL), "utf-8")


def import_counters(folder: str) -> None:
    """Import the counters that the commands show."""
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


def run_in_terminal(command: str, folder: str) -> str:
    """Return the output of a command in a terminal, with colors."""
    master, slave = pty.openpty()
    arguments = [*_program(), *shlex.split(command)[1:]]
    with subprocess.Popen(arguments, stdout=slave, stderr=slave, env=_environment(folder)):
        os.close(slave)
        output = b""
        with suppress(OSError):  # raised by Linux once the other end is closed
            while chunk := os.read(master, 4096):
                output += chunk
    os.close(master)
    # The picture must not show a path of this machine.
    return output.decode().replace("\r\n", "\n").replace(folder, "/data").rstrip("\n")


def _program() -> list[str]:
    return [sys.executable, "-m", "flask_redis_counter"]


def _environment(folder: str) -> dict[str, str]:
    own = {"COUNTER_DATA_DIR": folder, "COLUMNS": str(WIDTH), "TERM": "xterm-256color"}
    return {**os.environ, **own, "REDIS_URL": "", "REDIS_HOST": "", "REDIS_PORT": ""}


if __name__ == "__main__":
    main()
