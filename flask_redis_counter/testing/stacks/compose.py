"""A stack of containers, from a project's real Compose files."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..waiting import WaitTimeoutError, wait_until
from .command import command_error
from .docker import PROXY_VARIABLE, network_options, replica_of, run_docker, run_docker_command
from .proxy import CONTROL_PORT, RemoteProxy
from .stack import CommandResult, Endpoint, Replica, Stack, StackError

#: pytest shows the line of the test, and not ours.
__tracebackhide__ = True

#: How often a container is to be frozen: on a busy machine the runtime gives up early.
FREEZE_ATTEMPTS = 3

_COMPOSE = ["docker", "compose", "--ansi=never"]

_CLIENT = """client=$(command -v redis-cli || command -v valkey-cli) || {
  echo "it has no redis-cli and no valkey-cli" >&2; exit 127; }
exec "$client" -e "$@"
"""


class ComposeStack(Stack):
    """The containers of one Compose project.

    A service whose network is to be disturbed stands behind a service of the name
    ``SERVICE-proxy``, which runs the script that :data:`PROXY_VARIABLE` names and publishes its
    control port.

    :param files: the Compose files, first the one that the others change.
    :param project: the project's name, unique to this stack.
    :param entry: where the stack is reached from here.
    :param scale: how many replicas a service has.
    :param build: whether images are built at :meth:`up`.
    :param host: where the ports that the Docker Engine publishes are reached from here.
    :ivar files: their paths, whole, so that a test may change the folder that it runs in.
    """

    kind = "compose"

    def __init__(
        self,
        files: Sequence[str | Path],
        project: str,
        *,
        entry: Endpoint | None = None,
        scale: Mapping[str, int] | None = None,
        build: bool = False,
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(entry)
        self.project = project
        self.host = host
        self.files = tuple(str(Path(file).absolute()) for file in files)
        self._files = [f"--file={file}" for file in self.files]
        self.command = [*_COMPOSE, "--project-name", project, *self._files]
        self._scale = dict(scale or {})
        self._build = "--build" if build else "--no-build"
        self._cut: dict[str, list[tuple[str, list[str]]]] = {}

    def compose(self, *arguments: str) -> str:
        """Run ``docker compose`` on this project and return what it printed.

        :raises StackError: it failed.
        :raises StackTimeoutError: it took too long.
        """
        return run_docker(*self.command, *arguments)

    def fingerprint(self) -> str:
        """Return a digest of what Compose reads: the files, what they name, and the environment.

        The project's name is not in it.

        :raises StackError: Compose cannot read the files.
        """
        resolved = run_docker(*_COMPOSE, "--project-name=any", *self._files, "config")
        return sha256(resolved.encode()).hexdigest()

    def check_files(self) -> None:
        """Check that the containers were made from the files of this stack.

        :raises StackError: there are no containers, or they were made from other files.
        """
        label = "com.docker.compose.project"
        said = run_docker(
            "docker",
            "ps",
            "--all",
            f"--filter=label={label}={self.project}",
            f'--format={{{{.Label "{label}.config_files"}}}}',
        )
        if not (made_from := set(said.splitlines())):
            raise StackError(f"no stack of the project {self.project!r} is there")
        own = [Path(file).resolve() for file in self.files]
        for files in made_from:
            if [Path(file).resolve() for file in files.split(",")] != own:
                raise StackError(
                    f"the stack {self.project} was made from {files}, and not from "
                    f"{','.join(self.files)}"
                )

    def up(self, *services: str) -> None:
        """Start the services; without names all of them, until they are healthy."""
        if services:
            self.compose("up", "--detach", "--no-build", "--no-deps", *services)
            return
        scale = [f"--scale={service}={n}" for service, n in self._scale.items()]
        try:
            self.compose("up", "--detach", "--wait", self._build, *scale)
        except StackError as error:
            replicas, text = self.describe()
            raise type(error)(f"{error}\n{text}" if replicas else str(error), replicas) from None

    def down(self, *, volumes: bool = False) -> None:
        """Remove containers and networks, and with ``volumes`` the data and what was built.

        Images that the Compose file gives a name stay.
        """
        self.compose("down", "--remove-orphans", *(["--volumes"] if volumes else []))
        if volumes and (images := self.images()):
            run_docker("docker", "image", "rm", *images)

    def start(self, service: str, *, replica: int | None = None) -> None:
        """Start a service's containers, or one of them, and wait until they are healthy."""
        # Not `docker compose start`, which starts what the service depends on, and runs jobs again.
        run_docker("docker", "start", *self._some_containers(service, replica))
        self.wait_for(service, lambda one: one.ready, what="healthy", replica=replica)

    def stop(self, service: str) -> None:
        """Stop a service's containers."""
        self._some_containers(service)
        self.compose("stop", service)

    def kill(self, service: str, *, replica: int | None = None) -> None:
        """Kill a service's containers, or one of them."""
        containers = self._some_containers(service, replica)
        if replica is None:
            self.compose("kill", service)
        else:
            run_docker("docker", "kill", *containers)

    def pause(self, service: str) -> None:
        """Freeze a service's containers."""
        self._some_containers(service)
        for _ in range(FREEZE_ATTEMPTS - 1):
            try:
                self.compose("pause", service)
            except StackError as error:
                if "unable to freeze" not in str(error):
                    raise
            else:
                return
        self.compose("pause", service)

    def unpause(self, service: str) -> None:
        """Let frozen containers go on."""
        self._some_containers(service)
        self.compose("unpause", service)

    def cut(self, service: str) -> None:
        """Disconnect a service's containers from all their networks.

        :raises StackError: one of them has no network that it can be disconnected from.
        """
        found = {one: self._networks(service, one) for one in self._some_containers(service)}
        for container, networks in found.items():
            self._cut[container] = [(name, network_options(at)) for name, at in networks.items()]
            for network in networks:
                run_docker("docker", "network", "disconnect", network, container)

    def _networks(self, service: str, container: str) -> dict[str, Any]:
        """Return a container's networks, and its place on each.

        :raises StackError: it has none of its own.
        """
        known = self.inspect(container)
        mode, _, owner = known["HostConfig"]["NetworkMode"].partition(":")
        if mode == "none":
            raise StackError(f"{service} cannot be cut off: it has no network (network_mode: none)")
        if mode == "host":
            raise StackError(
                f"{service} cannot be cut off: it has the machine's network (network_mode: host); "
                "put it on a network of the project"
            )
        if mode == "container":
            labels = self.inspect(owner)["Config"]["Labels"]
            other = labels.get("com.docker.compose.service", owner)
            raise StackError(
                f"{service} cannot be cut off alone: it has the network of {other} "
                f"(network_mode: service:{other}); cut off {other}, and {service} is as well"
            )
        networks: dict[str, Any] = known["NetworkSettings"]["Networks"]
        if not networks:
            raise StackError(f"{service} is on no network: is it cut off already?")
        return networks

    def mend(self, service: str) -> None:
        """Reconnect them, under the names and addresses that disconnecting took away."""
        for container in self._some_containers(service):
            for network, place in self._cut.pop(container, []):
                run_docker("docker", "network", "connect", *place, network, container)

    def scale(self, service: str, replicas: int) -> None:
        """Give a service so many containers, and wait until they are healthy."""
        self._scale[service] = replicas
        scale = f"--scale={service}={replicas}"
        self.compose("up", "--detach", "--no-build", "--no-deps", "--no-recreate", scale, service)
        if replicas:
            self.wait_for(service, lambda one: one.ready, what="healthy")

    def services(self) -> tuple[str, ...]:
        """Return the names of the services that have containers."""
        return tuple(self.compose("ps", "--all", "--services").split())

    def jobs(self) -> frozenset[str]:
        """Return the services on which others depend as ``service_completed_successfully``."""
        label = "com.docker.compose"
        condition = f'{{{{.Label "{label}.depends_on"}}}}'  # service:condition:restart,...
        project = f"--filter=label={label}.project={self.project}"
        said = run_docker("docker", "ps", "--all", f"--format={condition}", project)
        dependencies = [one.split(":") for one in said.replace(",", "\n").split()]
        wanted = "service_completed_successfully"
        return frozenset(name for name, waits_for, *_ in dependencies if waits_for == wanted)

    def state(self, service: str) -> tuple[Replica, ...]:
        """Return the state of a service's containers."""
        containers = self.containers(service)
        if not containers:
            return ()
        known = json.loads(run_docker("docker", "inspect", *containers))
        return tuple(replica_of(service, one["Name"].lstrip("/"), one["State"]) for one in known)

    def address(self, service: str, port: int) -> tuple[str, int]:
        """Ask Docker where a service's port is published now.

        :raises StackError: it is not.
        """

        container, *_ = self._some_containers(service)
        bound = self.inspect(container)["HostConfig"]["PortBindings"] or {}
        if f"{port}/tcp" not in bound:
            names = ", ".join(bound) or "none"
            raise StackError(f"{service} does not publish its port {port}; it publishes {names}")

        def published() -> int:
            # None while it is started, and 0 for a moment.
            ports = self.inspect(container)["NetworkSettings"]["Ports"][f"{port}/tcp"]
            return int(ports[0]["HostPort"])

        try:
            what = f"a published port {port} of {service}"
            return self.host, wait_until(published, what=what, within=10)
        except WaitTimeoutError as error:
            replicas, text = self.describe()
            raise StackError(f"{error}\n{text}", replicas) from None

    def exec(
        self, service: str, *command: str, replica: int = 0, check: bool = True
    ) -> CommandResult:
        """Run a command in one of a service's containers."""
        index = f"--index={replica + 1}"
        done = run_docker_command((*self.command, "exec", "--no-TTY", index, service, *command))
        if check and done.exit_code != 0:
            raise command_error(command, done)
        return done

    def store(self, service: str, *command: str) -> str:
        """Send a command with the server's own client."""
        done = self.exec(service, "sh", "-c", _CLIENT, "sh", *command, check=False)
        if done.exit_code != 0:
            raise command_error(command, done)
        return done.output.strip()

    def proxy(self, service: str) -> RemoteProxy:
        """Return the proxy that runs as the service ``SERVICE-proxy``.

        :raises StackError: there is none.
        """
        name = f"{service}-proxy"
        if not self.containers(name):
            raise StackError(
                f"{service} has no proxy: add a service {name} that runs ${{{PROXY_VARIABLE}}} and "
                f"publishes port {CONTROL_PORT}, and let the others use it"
            )
        return RemoteProxy(*self.address(name, CONTROL_PORT))

    def logs(self, *, since: float = 0.0) -> dict[str, str]:
        """Return every service's log."""
        from_when = ["--since", datetime.fromtimestamp(since, UTC).isoformat()] if since else []
        return {
            # Compose clears the line before each one, also where there is no terminal.
            service: self.compose("logs", "--no-log-prefix", *from_when, service).replace(
                "\x1b[2K", ""
            )
            for service in self.services()
        }

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's containers, running or not, by their number."""
        label = "com.docker.compose"
        wanted = [f"{label}.project={self.project}", f"{label}.service={service}"]
        filters = [f"--filter=label={one}" for one in (*wanted, f"{label}.oneoff=False")]
        # Not `docker compose ps`, which reads all files anew and takes ten times as long.
        number = f'{{{{.Label "{label}.container-number"}}}} {{{{.ID}}}}'
        lines = run_docker("docker", "ps", "--all", f"--format={number}", *filters).splitlines()
        return [line.split()[1] for line in sorted(lines, key=lambda line: int(line.split()[0]))]

    def _some_containers(self, service: str, replica: int | None = None) -> list[str]:
        """Return the same, of which there must be some, or the one of a replica."""
        if not (found := self.containers(service)):
            there = ", ".join(self.services())
            raise StackError(f"the stack has no container of the service {service}, but of {there}")
        if replica is None:
            return found
        if not 0 <= replica < len(found):
            count = len(found)
            raise StackError(f"{service} has {count} replicas, and none with the number {replica}")
        return [found[replica]]

    def inspect(self, container: str) -> dict[str, Any]:
        """Return what Docker knows of a container."""
        found: list[dict[str, Any]] = json.loads(run_docker("docker", "inspect", container))
        return found[0]

    def leftovers(self) -> list[str]:
        """Return the containers, networks, volumes and images that the project still has."""
        label = f"label=com.docker.compose.project={self.project}"
        return [f"image {name}" for name in self.images()] + [
            f"{kind} {name}"
            for kind, listing in (
                ("container", ("ps", "--all")),
                ("network", ("network", "ls")),
                ("volume", ("volume", "ls")),
            )
            for name in run_docker("docker", *listing, "--quiet", "--filter", label).split()
        ]

    def images(self) -> list[str]:
        """Return the images that were built for the project, and named after it."""
        # Not `down --rmi=local`, which takes those with a name of their own as well.
        label = f"--filter=label=com.docker.compose.project={self.project}"
        name = f"--filter=reference={self.project}-*"
        format_ = "--format={{.Repository}}:{{.Tag}}"
        return run_docker("docker", "image", "ls", label, name, format_).split()


def unique_project(name: str = "stack") -> str:
    """Return a name for a project that no other run has.

    :param name: what it begins with, for people.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    return f"{name}-{worker}-{secrets.token_hex(4)}"
