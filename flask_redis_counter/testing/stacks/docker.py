"""Docker's command line, and the parser of container states."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from . import proxy as proxy_module
from .command import CommandResult, command_error, run_command
from .errors import StackError
from .replica import Replica

#: pytest leaves this module's frames out of tracebacks, and shows the line of the test.
__tracebackhide__ = True

#: Timeout of one Docker command, in seconds.
COMMAND_TIMEOUT = 180.0

#: Environment variable with the path of the proxy's script, for Compose files: ``${STACK_PROXY}``.
PROXY_VARIABLE = "STACK_PROXY"

#: The exit code of a container that was killed by a signal is this plus the signal's number.
_SIGNAL_OFFSET = 128


def run_docker(*command: str) -> str:
    """Run a command as :func:`run_docker_command`, and return its standard output.

    :raises StackError: the command failed.
    :raises StackTimeoutError: the command took too long.
    """
    result = run_docker_command(command)
    if result.exit_code != 0:
        raise command_error(command, result)
    return result.output


def run_docker_command(command: Sequence[str]) -> CommandResult:
    """Run a command with the environment that Compose files need, and return its result.

    :raises StackError: the command cannot be started.
    :raises StackTimeoutError: the command took too long.
    """
    environment = {PROXY_VARIABLE: proxy_script()}
    return run_command(command, environment=environment, timeout=COMMAND_TIMEOUT)


@cache
def proxy_script() -> str:
    """Return the path of the proxy's script, in a file that the user of any container can read.

    If the package was installed under umask 077, the file is a copy in the user's cache. The copy
    is not removed, because a stack that is kept running mounts it.
    """
    script = Path(proxy_module.__file__)
    if script.stat().st_mode & stat.S_IROTH:
        return str(script)
    try:
        return str(_copy_to_cache(script.read_bytes()))
    except (OSError, RuntimeError):
        return str(script)  # no cache: only a container that cannot read the original fails


def _copy_to_cache(content: bytes) -> Path:
    """Write a world-readable file into the user's cache, unless it exists."""
    cached = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "flask-redis-counter")
    copy = cached / f"proxy-{sha256(content).hexdigest()[:12]}.py"
    if not copy.exists():
        cached.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cached, delete=False) as new:
            new.write(content)
        Path(new.name).chmod(0o644)
        Path(new.name).replace(copy)
    return copy


def is_engine_available() -> bool:
    """Return whether a Docker Engine with Compose responds."""
    try:
        run_docker("docker", "compose", "version")
        run_docker("docker", "info", "--format", "{{.ServerVersion}}")
    except StackError:
        return False
    return True


def inspect(container: str) -> dict[str, Any]:
    """Return the output of ``docker inspect`` for a container."""
    found: list[dict[str, Any]] = json.loads(run_docker("docker", "inspect", container))
    return found[0]


def parse_replica(service: str, name: str, state: Mapping[str, Any]) -> Replica:
    """Return a replica from the ``State`` of ``docker inspect``."""
    if state["Status"] in ("exited", "dead"):  # its health is out of date
        code = int(state["ExitCode"])
        code = _SIGNAL_OFFSET - code if code > _SIGNAL_OFFSET else code
        return Replica(service, name, state["Status"], code)
    health = state.get("Health") or {"Status": None}
    checks = [] if health["Status"] == "healthy" else health.get("Log") or []
    lines = checks[-1]["Output"].split("\n") if checks else []
    last_line = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return Replica(service, name, state["Status"], None, health["Status"], last_line)
