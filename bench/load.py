"""Load on a server, by wrk."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = Path(__file__).with_name("load.lua")


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk saw.

    :ivar seconds: how long it ran.
    :ivar requests: how many requests were answered.
    :ivar p50: the median latency in milliseconds.
    :ivar p99: the latency in milliseconds that 1 in 100 requests exceeded.
    :ivar non_2xx: how many of the answers were errors.
    :ivar broken: how many connections failed or timed out.
    """

    seconds: float
    requests: int
    p50: float
    p99: float
    non_2xx: int
    broken: int

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def find_wrk() -> str | None:
    """Return the path of wrk, or None where it is not installed."""
    return shutil.which("wrk")


def put_load(url: str, *, seconds: int, connections: int) -> Load:
    """Ask for one URL over and over, on each connection as soon as it has answered."""
    command = ["wrk", "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{seconds}s", "--timeout", "10s", "--script", str(_SCRIPT), url]
    output = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=seconds + 60
    ).stdout
    return Load(**json.loads(output.splitlines()[-1]))
