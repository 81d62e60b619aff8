"""Docker's command, and what it tells of containers."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from . import proxy as proxy_module
from .command import command_error, run_command
from .stack import CommandResult, Replica, StackError

#: pytest shows the line of the test, and not ours.
__tracebackhide__ = True

#: Seconds that one command of Docker's may take.
COMMAND_TIMEOUT = 180.0

#: Where Compose files find the script of the proxy, to mount it: ``${STACK_PROXY}``.
PROXY_VARIABLE = "STACK_PROXY"

#: Docker gives a container that was killed by a signal 128 more than the signal's number.
_SIGNALLED = 128


def run_docker(*command: str) -> str:
    """Run a command and return what it printed on its standard output.

    :raises StackError: it failed.
    :raises StackTimeoutError: it took too long.
    """
    done = run_docker_command(command)
    if done.exit_code != 0:
        raise command_error(command, done)
    return done.output


def run_docker_command(command: Sequence[str]) -> CommandResult:
    """Run a command that may read Compose files, and return how it ended.

    :raises StackError: it cannot be run.
    :raises StackTimeoutError: it took too long.
    """
    environment = {PROXY_VARIABLE: proxy_script()}
    return run_command(command, environment=environment, timeout=COMMAND_TIMEOUT)


@cache
def proxy_script() -> str:
    """Return the path of the proxy's script, which the user of any container may read.

    Where it was installed under umask 077, it is a copy in the user's cache. The copy stays: a
    stack that is kept has it mounted.
    """
    script = Path(proxy_module.__file__)
    if script.stat().st_mode & stat.S_IROTH:
        return str(script)
    try:
        return str(_readable_copy(script.read_bytes()))
    except (OSError, RuntimeError):
        return str(script)  # there is no cache: a container that needs a copy fails


def _readable_copy(content: bytes) -> Path:
    """Write a file into the user's cache that everybody may read, unless it is there."""
    cached = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "flask-redis-counter")
    copy = cached / f"proxy-{sha256(content).hexdigest()[:12]}.py"
    if not copy.exists():
        cached.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cached, delete=False) as new:
            new.write(content)
        Path(new.name).chmod(0o644)
        Path(new.name).replace(copy)
    return copy


def engine_answers() -> bool:
    """Whether a Docker Engine with Compose answers here."""
    try:
        run_docker("docker", "compose", "version")
        run_docker("docker", "info", "--format", "{{.ServerVersion}}")
    except StackError:
        return False
    return True


def replica_of(service: str, name: str, state: Mapping[str, Any]) -> Replica:
    """Return what ``docker inspect`` says of a container's state."""
    if state["Status"] in ("exited", "dead"):  # its health is of before
        code = int(state["ExitCode"])
        code = _SIGNALLED - code if code > _SIGNALLED else code
        return Replica(service, name, state["Status"], code)
    health = state.get("Health") or {"Status": None}
    checks = [] if health["Status"] == "healthy" else health.get("Log") or []
    said = checks[-1]["Output"].split("\n") if checks else []
    complaint = next((line.strip() for line in reversed(said) if line.strip()), "")
    return Replica(service, name, state["Status"], None, health["Status"], complaint)


def network_options(at: Mapping[str, Any]) -> list[str]:
    """Return the options that give a container its place on a network back."""
    fixed = at.get("IPAMConfig") or {}
    addresses = {"ip": fixed.get("IPv4Address"), "ip6": fixed.get("IPv6Address")}
    return [f"--alias={alias}" for alias in at["Aliases"] or []] + [
        f"--{option}={address}" for option, address in addresses.items() if address
    ]
