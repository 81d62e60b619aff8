"""A stack of containers, started from the Compose files of a project."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..waiting import WaitTimeoutError, wait_until
from . import project as resources
from .command import CommandResult, command_error
from .docker import PROXY_VARIABLE, inspect, parse_replica, run_docker, run_docker_command
from .errors import StackError
from .isolation import Isolations
from .networks import remove_private
from .proxy import CONTROL_PORT, RemoteProxy
from .replica import Replica
from .stack import Endpoint, Stack

#: pytest leaves this module's frames out of tracebacks, and shows the line of the test.
__tracebackhide__ = True

#: Maximum number of attempts to freeze a container: on a busy machine the runtime gives up early.
FREEZE_ATTEMPTS = 3

_COMPOSE = ["docker", "compose", "--ansi=never"]

_CLIENT_SCRIPT = """client=$(command -v redis-cli || command -v valkey-cli) || {
  echo "it has no redis-cli and no valkey-cli" >&2; exit 127; }
exec "$client" -e "$@"
"""


class ComposeStack(Stack):
    """The containers of one Compose project.

    Network faults of a service need a proxy in front of it: a service of the name
    ``SERVICE-proxy``, which runs the script that :data:`PROXY_VARIABLE` names and publishes its
    control port.

    :param files: the Compose files; later files override earlier ones.
    :param project: the project's name, unique to this stack.
    :param endpoint: the stack's address for clients.
    :param scale: number of replicas by service.
    :param build: whether :meth:`up` builds images.
    :param host: the address at which clients reach the ports that the Docker Engine publishes.
    :ivar files: the absolute paths of the Compose files, so that a test may change its working
        directory.
    """

    kind = "compose"

    def __init__(
        self,
        files: Sequence[str | Path],
        project: str,
        *,
        endpoint: Endpoint | None = None,
        scale: Mapping[str, int] | None = None,
        build: bool = False,
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(endpoint)
        self.project = project
        self.host = host
        self.files: tuple[str, ...] = tuple(str(Path(file).absolute()) for file in files)
        self._file_options = [f"--file={file}" for file in self.files]
        self.command: list[str] = [*_COMPOSE, "--project-name", project, *self._file_options]
        self._scale = dict(scale or {})
        self._build = "--build" if build else "--no-build"
        self._isolations = Isolations(project)

    def compose(self, *arguments: str) -> str:
        """Run ``docker compose`` on this project and return its standard output.

        :raises StackError: the command failed.
        :raises StackTimeoutError: the command took too long.
        """
        return run_docker(*self.command, *arguments)

    def fingerprint(self) -> str:
        """Return a digest of the resolved Compose files, without the project's name.

        It covers the files, all files that they name, and the environment.

        :raises StackError: Compose cannot read the files.
        """
        resolved = run_docker(*_COMPOSE, "--project-name=any", *self._file_options, "config")
        return sha256(resolved.encode()).hexdigest()

    def check_files(self) -> None:
        """Check that the containers were created from the files of this stack.

        :raises StackError: there are no containers, or they were created from other files.
        """
        if not (created_from := resources.list_config_files(self.project)):
            raise StackError(f"no stack of the project {self.project!r} exists")
        own = [Path(file).resolve() for file in self.files]
        for files in created_from:
            if [Path(file).resolve() for file in files.split(",")] != own:
                raise StackError(
                    f"the stack {self.project} was created from {files}, and not from "
                    f"{','.join(self.files)}"
                )

    def up(self, *services: str) -> None:
        """Start all services and wait until they are healthy; or start only those named."""
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
        """Remove containers and networks, and with ``volumes`` the data and the built images.

        Images for which the Compose file sets a name are not removed.
        """
        self.compose("down", "--remove-orphans", *(["--volumes"] if volumes else []))
        remove_private(self.project)
        if volumes and (images := self.images()):
            run_docker("docker", "image", "rm", *images)

    def start(self, service: str, *, replica: int | None = None) -> None:
        """Start a service's containers, or one of them, and wait until they are healthy."""
        # Not `docker compose start`: it starts dependencies, and runs one-shot services again.
        run_docker("docker", "start", *self._require_containers(service, replica))
        self.wait_for(service, lambda one: one.is_ready, what="healthy", replica=replica)

    def stop(self, service: str) -> None:
        """Stop a service's containers."""
        self._require_containers(service)
        self.compose("stop", service)

    def kill(self, service: str, *, replica: int | None = None) -> None:
        """Kill a service's containers, or one of them."""
        containers = self._require_containers(service, replica)
        if replica is None:
            self.compose("kill", service)
        else:
            run_docker("docker", "kill", *containers)

    def pause(self, service: str) -> None:
        """Freeze a service's containers."""
        self._require_containers(service)
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
        """Resume a service's frozen containers."""
        self._require_containers(service)
        self.compose("unpause", service)

    def isolate(self, service: str, *, with_clients: Collection[str] = ()) -> None:
        """Disconnect a service's containers from all networks, except one with some clients."""
        containers = self._require_containers(service)
        clients = {client: self._require_containers(client) for client in with_clients}
        self._isolations.isolate(service, containers, clients)

    def reconnect(self, service: str) -> None:
        """Reconnect a service's containers, with the names and fixed addresses that they had."""
        self._isolations.reconnect(service, self._require_containers(service))

    def scale(self, service: str, replicas: int) -> None:
        """Set the number of a service's containers, and wait until they are healthy."""
        self._scale[service] = replicas
        scale = f"--scale={service}={replicas}"
        self.compose("up", "--detach", "--no-build", "--no-deps", "--no-recreate", scale, service)
        if replicas:
            self.wait_for(service, lambda one: one.is_ready, what="healthy")

    def services(self) -> tuple[str, ...]:
        """Return the names of the services that have containers."""
        return tuple(self.compose("ps", "--all", "--services").split())

    def one_shot_services(self) -> frozenset[str]:
        """Return the services on which others depend as ``service_completed_successfully``."""
        return resources.find_one_shot_services(self.project)

    def state(self, service: str) -> tuple[Replica, ...]:
        """Return the state of a service's containers."""
        containers = self.containers(service)
        if not containers:
            return ()
        facts = json.loads(run_docker("docker", "inspect", *containers))
        return tuple(parse_replica(service, one["Name"].lstrip("/"), one["State"]) for one in facts)

    def address(self, service: str, port: int) -> tuple[str, int]:
        """Return the host and port where Docker publishes a service's port now.

        :raises StackError: the port is not published.
        """
        container, *_ = self._require_containers(service)
        bound = self.inspect(container)["HostConfig"]["PortBindings"] or {}
        if f"{port}/tcp" not in bound:
            names = ", ".join(bound) or "none"
            raise StackError(f"{service} does not publish its port {port}; it publishes {names}")

        def get_published_port() -> int:
            # None while the container starts, and 0 for a moment.
            ports = self.inspect(container)["NetworkSettings"]["Ports"][f"{port}/tcp"]
            return int(ports[0]["HostPort"])

        try:
            what = f"a published port {port} of {service}"
            return self.host, wait_until(get_published_port, what=what, timeout=10)
        except WaitTimeoutError as error:
            replicas, text = self.describe()
            raise StackError(f"{error}\n{text}", replicas) from None

    def exec(
        self, service: str, *command: str, replica: int = 0, check: bool = True
    ) -> CommandResult:
        """Run a command in one of a service's containers."""
        index = f"--index={replica + 1}"
        result = run_docker_command((*self.command, "exec", "--no-TTY", index, service, *command))
        if check and result.exit_code != 0:
            raise command_error(command, result)
        return result

    def run_redis_command(
        self, service: str, *command: str, port: int | None = None, replica: int = 0
    ) -> str:
        """Send a command with the ``redis-cli`` or ``valkey-cli`` of the container."""
        options = [] if port is None else ["-p", str(port)]
        words = ("sh", "-c", _CLIENT_SCRIPT, "sh", *options, *command)
        result = self.exec(service, *words, replica=replica, check=False)
        if result.exit_code != 0:
            raise command_error(command, result)
        return result.output.strip()

    def proxy(self, service: str) -> RemoteProxy:
        """Return the proxy that runs as the service ``SERVICE-proxy``.

        :raises StackError: there is no such service.
        """
        name = f"{service}-proxy"
        if not self.containers(name):
            raise StackError(
                f"{service} has no proxy: add a service {name} that runs ${{{PROXY_VARIABLE}}} and "
                f"publishes port {CONTROL_PORT}, and let the other services connect to it"
            )
        return RemoteProxy(*self.address(name, CONTROL_PORT))

    def logs(self, *, since: float = 0.0) -> dict[str, str]:
        """Return every service's log."""
        start = ["--since", datetime.fromtimestamp(since, UTC).isoformat()] if since else []
        return {
            # Compose clears the line before each one, even without a terminal.
            service: self.compose("logs", "--no-log-prefix", *start, service).replace("\x1b[2K", "")
            for service in self.services()
        }

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's containers, running or not, ordered by their number."""
        return resources.list_containers(self.project, service)

    def _require_containers(self, service: str, replica: int | None = None) -> list[str]:
        """Return the ids of a service's containers, or of one replica.

        :raises StackError: there is none.
        """
        if not (found := self.containers(service)):
            existing = ", ".join(self.services())
            raise StackError(
                f"the stack has no container of the service {service}; it has {existing}"
            )
        if replica is None:
            return found
        if not 0 <= replica < len(found):
            raise StackError(f"{service} has {len(found)} replicas, and no number {replica}")
        return [found[replica]]

    def inspect(self, container: str) -> dict[str, Any]:
        """Return the output of ``docker inspect`` for a container."""
        return inspect(container)

    def leftovers(self) -> list[str]:
        """Return the containers, networks, volumes and images of the project that still exist."""
        return resources.list_leftovers(self.project)

    def images(self) -> list[str]:
        """Return the images that Compose built for the project and named after it."""
        return resources.list_images(self.project)
