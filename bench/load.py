"""HTTP load from wrk."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = Path(__file__).with_name("load.lua")


@dataclass(frozen=True, slots=True)
class Load:
    """Result of one run of wrk.

    :ivar seconds: duration of the run.
    :ivar requests: number of responses.
    :ivar p50: median latency in milliseconds.
    :ivar p99: 99th percentile of the latency in milliseconds.
    :ivar non_2xx: number of error responses.
    :ivar failed: number of connections that failed or timed out.
    """

    seconds: float
    requests: int
    p50: float
    p99: float
    non_2xx: int
    failed: int

    @property
    def rate(self) -> float:
        """Responses a second."""
        return self.requests / self.seconds


def find_wrk() -> str | None:
    """Return the path of wrk, or None if it is not installed."""
    return shutil.which("wrk")


def put_load(url: str, *, seconds: int, connections: int) -> Load:
    """Request one URL repeatedly, on each connection without a pause."""
    command = ["wrk", "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{seconds}s", "--timeout", "10s", "--script", str(_SCRIPT), url]
    output = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=seconds + 60
    ).stdout
    return Load(**json.loads(output.splitlines()[-1]))
