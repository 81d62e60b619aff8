"""A stack of containers, from the project's real Compose files."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .stack import Stack, StackError
from .waiting import wait_until

#: Seconds that one command of Docker's may take.
COMMAND_TIMEOUT = 180.0


class ComposeStack(Stack):
    """The containers of one Compose project.

    :param files: the Compose files, first the one that the others change.
    :param project: the project's name, unique to this stack.
    :param entry: the service that is reached from here, and its port in the container.
    :param scale: how many replicas a service has.
    """

    kind = "compose"

    def __init__(
        self,
        files: Sequence[str | Path],
        project: str,
        *,
        entry: tuple[str, int] = ("web", 5000),
        scale: dict[str, int] | None = None,
    ) -> None:
        self.project = project
        self._entry = entry
        self._command = ["docker", "compose", "--ansi=never", "--project-name", project]
        for file in files:
            self._command += ["--file", str(file)]
        self._scale = [f"--scale={service}={n}" for service, n in (scale or {}).items()]
        self._cut: dict[str, list[tuple[str, list[str]]]] = {}

    def compose(self, *arguments: str) -> str:
        """Run ``docker compose`` on this project and return what it printed.

        :raises StackError: it failed or took too long.
        """
        return run(*self._command, *arguments)

    def up(self, *services: str) -> None:
        """Start the services; without names all of them, until they are healthy."""
        if services:
            self.compose("up", "--detach", "--no-build", "--no-deps", *services)
        else:
            self.compose("up", "--detach", "--no-build", "--wait", *self._scale)

    def down(self, *, volumes: bool = False) -> None:
        """Remove containers and networks, and with ``volumes`` the data."""
        self.compose("down", "--remove-orphans", *(["--volumes"] if volumes else []))

    def start(self, service: str) -> None:
        """Start a service's containers and wait until they are healthy."""
        self.compose("start", service)
        containers = self.containers(service)
        wait_until(
            lambda: all(self._health(each) in ("healthy", None) for each in containers),
            what=f"{service} healthy",
        )

    def stop(self, service: str) -> None:
        """Stop a service's containers."""
        self.compose("stop", service)

    def kill(self, service: str, *, replica: int | None = None) -> None:
        """Kill a service's containers, or one of them."""
        if replica is None:
            self.compose("kill", service)
        else:
            run("docker", "kill", self.containers(service)[replica])

    def pause(self, service: str) -> None:
        """Freeze a service's containers."""
        self.compose("pause", service)

    def unpause(self, service: str) -> None:
        """Let frozen containers go on."""
        self.compose("unpause", service)

    def cut(self, service: str) -> None:
        """Disconnect a service's containers from all their networks."""
        for container in self.containers(service):
            networks = self.inspect(container)["NetworkSettings"]["Networks"]
            self._cut[container] = [(name, at["Aliases"]) for name, at in networks.items()]
            for network in networks:
                run("docker", "network", "disconnect", network, container)

    def mend(self, service: str) -> None:
        """Reconnect them, under the names that disconnecting took away."""
        for container in self.containers(service):
            for network, aliases in self._cut.pop(container, []):
                names = [f"--alias={alias}" for alias in aliases]
                run("docker", "network", "connect", *names, network, container)

    def url(self) -> str:
        """Ask Docker where the entry's port is published now."""
        service, port = self._entry

        def published() -> str:
            # It can answer port 0 for a moment, and a form with an IPv6 address.
            number = self.compose("port", service, str(port)).strip().rpartition(":")[2]
            return number if number != "0" else ""

        return f"http://127.0.0.1:{wait_until(published, what=f'a port of {service}', within=10)}"

    def logs(self) -> dict[str, str]:
        """Return every service's log."""
        services = self.compose("ps", "--all", "--services").split()
        return {
            # Compose clears the line before each one, also where there is no terminal.
            service: self.compose("logs", "--no-log-prefix", service).replace("\x1b[2K", "")
            for service in services
        }

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's containers, running or not."""
        return self.compose("ps", "--all", "--quiet", service).split()

    def inspect(self, container: str) -> dict[str, Any]:
        """Return what Docker knows of a container."""
        found: list[dict[str, Any]] = json.loads(run("docker", "inspect", container))
        return found[0]

    def _health(self, container: str) -> str | None:
        health: dict[str, str] | None = self.inspect(container)["State"].get("Health")
        return health["Status"] if health else None

    def leftovers(self) -> list[str]:
        """Return the containers, networks and volumes that the project still has."""
        label = f"label=com.docker.compose.project={self.project}"
        return [
            f"{kind} {name}"
            for kind, listing in (
                ("container", ("ps", "--all")),
                ("network", ("network", "ls")),
                ("volume", ("volume", "ls")),
            )
            for name in run("docker", *listing, "--quiet", "--filter", label).split()
        ]


def run(*command: str) -> str:
    """Run a command and return what it printed on its standard output.

    :raises StackError: it failed or took too long.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(f"{' '.join(command)}: {error}") from error
    if done.returncode != 0:
        raise StackError(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def engine_answers() -> bool:
    """Whether a Docker Engine with Compose answers here."""
    try:
        run("docker", "compose", "version")
        run("docker", "info", "--format", "{{.ServerVersion}}")
    except StackError:
        return False
    return True
