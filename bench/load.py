"""HTTP load from wrk."""

from __future__ import annotations

import json
import resource
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = Path(__file__).with_name("load.lua")

#: File descriptors that a process needs in addition to its connections.
_OTHER_FILES = 200


@dataclass(frozen=True, slots=True)
class Load:
    """Result of one run of wrk.

    :ivar seconds: duration of the run.
    :ivar requests: number of responses.
    :ivar p50: median latency in milliseconds.
    :ivar p99: 99th percentile of the latency in milliseconds.
    :ivar non_2xx: number of error responses.
    :ivar failed: number of connections that failed or timed out.
    :ivar miscounted: whether the store counted fewer hits than were answered, or more than were
        sent.
    """

    seconds: float
    requests: int
    p50: float
    p99: float
    non_2xx: int
    failed: int
    miscounted: bool = False

    @property
    def rate(self) -> float:
        """Responses a second, without error responses."""
        return (self.requests - self.non_2xx) / self.seconds

    @property
    def errors(self) -> int:
        """Number of error responses and of connections that failed or timed out."""
        return self.non_2xx + self.failed


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is not the same each time it is sent.

    :ivar path: path of the URL; ``NUMBER`` in it becomes a number at random.
    :ivar method: method.
    :ivar unique: names of the headers that get a new value in each request.
    :ivar numbers: number of the paths.
    """

    path: str
    method: str = "POST"
    unique: Sequence[str] = ()
    numbers: int = 1


def find_wrk() -> str | None:
    """Return the path of wrk, or None if it is not installed."""
    return shutil.which("wrk")


def allow_connections(count: int) -> bool:
    """Raise the limit of open files, which wrk and the servers inherit, for connections.

    :returns: whether the hard limit allows that many connections in one process.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = count + _OTHER_FILES
    if hard != resource.RLIM_INFINITY and hard < need:
        return False
    if soft != resource.RLIM_INFINITY and soft < need:
        resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))
    return True


def put_load(address: str, request: str | Request, *, seconds: int, connections: int) -> Load:
    """Send requests, the next one on each connection as soon as the last one is answered.

    :param address: scheme, host and port.
    :param request: the path of identical ``GET`` requests, or a request that varies.
    :raises subprocess.CalledProcessError: wrk cannot connect.
    """
    command = ["wrk", "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{seconds}s", "--timeout", "10s", "--script", str(_SCRIPT)]
    if isinstance(request, str):
        command.append(address + request)
    else:
        run = f"{secrets.token_hex(8)}-"
        command += [address + request.path, "--", request.method, str(request.numbers), run]
        command += request.unique
    output = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=seconds + 60
    ).stdout
    return Load(**json.loads(output.splitlines()[-1]))
