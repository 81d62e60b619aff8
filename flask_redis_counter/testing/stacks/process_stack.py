"""A stack of processes, for machines without Docker."""

from __future__ import annotations

import shutil
import signal
import socket
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from .command import CommandResult, command_error, run_command
from .errors import StackError
from .process import Process, free_port
from .proxy import Proxy
from .replica import Replica
from .stack import Endpoint, Stack

#: pytest leaves this module's frames out of tracebacks, and shows the line of the test.
__tracebackhide__ = True

#: Timeout in seconds of a command in a service's environment, and of a Redis server's reply.
COMMAND_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Program:
    """The program of a service.

    In its arguments and environment the placeholder ``{port}`` is the port to listen on,
    ``{data}`` is a folder for its data, and ``{NAME}`` is the port of the service with that name.

    :ivar command: the program and its arguments.
    :ivar environment: variables in addition to this process's environment.
    :ivar replicas: number of processes.
    """

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    replicas: int = 1


class ProcessStack(Stack):
    """Processes, with a proxy in front of each service.

    :param programs: the services, in the order in which they are started.
    :param endpoint: the service that clients of the stack connect to; its port is ignored.
    """

    kind = "process"

    def __init__(
        self, programs: Mapping[str, Program], *, endpoint: Endpoint | None = None
    ) -> None:
        super().__init__(endpoint)
        self._folder = Path(tempfile.mkdtemp(prefix="stack-"))
        self._programs = programs
        ports = {name: [free_port() for _ in range(one.replicas)] for name, one in programs.items()}
        self._proxies = {name: Proxy(numbers) for name, numbers in ports.items()}
        self._running = {
            name: [self._process(name, port) for port in numbers] for name, numbers in ports.items()
        }
        self._ports = ports
        self._marks: dict[float, dict[Process, int]] = {}

    def _process(self, service: str, port: int) -> Process:
        program = self._programs[service]
        values = self._placeholders(service, port)
        return Process(
            [argument.format(**values) for argument in program.command],
            log=self._folder / f"{service}-{port}.log",
            environment=self._environment(service, port),
        )

    def _placeholders(self, service: str, port: int) -> dict[str, str | int]:
        ports = {name: proxy.port for name, proxy in self._proxies.items()}
        return {**ports, "port": port, "data": str(self._data(service, port))}

    def _data(self, service: str, port: int) -> Path:
        return self._folder / f"data-{service}-{port}"

    def _environment(self, service: str, port: int) -> dict[str, str]:
        values = self._placeholders(service, port)
        environment = self._programs[service].environment
        return {name: value.format(**values) for name, value in environment.items()}

    def _processes(self, service: str) -> list[Process]:
        try:
            return self._running[service]
        except KeyError:
            existing = ", ".join(self._programs)
            raise StackError(f"there is no service {service!r}; there is {existing}") from None

    def up(self, *services: str) -> None:
        """Start all services and wait until they are ready; or start only those named."""
        for service in services:
            self._spawn(service)
        if not services:
            for service in self.services():
                self.start(service)
            self.wait_ready()

    def down(self, *, volumes: bool = False) -> None:
        """Stop all services; with ``volumes`` also remove the data and the logs."""
        for service in reversed(self.services()):
            for process in self._running[service]:
                if process.is_running():
                    process.signal(signal.SIGCONT)
                    process.stop()
        if volumes:
            for proxy in self._proxies.values():
                proxy.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, service: str, *, replica: int | None = None) -> None:
        """Start a service and wait until its ports accept connections."""
        self._spawn(service, replica)
        self.wait_for(
            service, lambda one: one.is_ready, what="accepts connections", replica=replica
        )

    def _spawn(self, service: str, replica: int | None = None) -> None:
        each = zip(self._processes(service), self._ports[service], strict=True)
        for number, (process, port) in enumerate(each):
            if replica in (None, number):
                self._data(service, port).mkdir(parents=True, exist_ok=True)
                process.start()

    def stop(self, service: str) -> None:
        """Stop a service with SIGTERM, and wait until it has ended."""
        for process in self._processes(service):
            process.stop()

    def kill(self, service: str, *, replica: int | None = None) -> None:
        """Kill a service or one replica of it, with all child processes."""
        processes = self._processes(service)
        for process in processes if replica is None else [processes[replica]]:
            process.kill()

    def pause(self, service: str) -> None:
        """Freeze a service."""
        for process in self._processes(service):
            process.signal(signal.SIGSTOP)

    def unpause(self, service: str) -> None:
        """Resume a frozen service."""
        for process in self._processes(service):
            process.signal(signal.SIGCONT)

    def isolate(self, service: str, *, with_clients: Collection[str] = ()) -> None:
        """Let the proxy hold back all data, in both directions.

        :raises StackError: there are clients: the proxy does not know whose data it forwards.
        """
        if with_clients:
            raise StackError(
                f"{service} cannot be isolated with clients: that needs a ComposeStack"
            )
        self.proxy(service).isolate()

    def reconnect(self, service: str) -> None:
        """Let the proxy forward all data again."""
        self.proxy(service).clear()

    def scale(self, service: str, replicas: int) -> None:
        """Set the number of a service's processes, and wait until they accept connections."""
        processes, ports = self._processes(service), self._ports[service]
        for process in processes[replicas:]:
            process.stop()
        ports[replicas:] = []
        processes[replicas:] = []
        while len(processes) < replicas:
            ports.append(free_port())
            processes.append(self._process(service, ports[-1]))
        self.proxy(service).backends = [("127.0.0.1", port) for port in ports]
        self.start(service)

    def services(self) -> tuple[str, ...]:
        """Return the names of all services."""
        return tuple(self._programs)

    def state(self, service: str) -> tuple[Replica, ...]:
        """Return the state of a service's processes; healthy means: it accepts connections."""
        return tuple(
            _probe_replica(service, process, port)
            for process, port in zip(self._processes(service), self._ports[service], strict=True)
        )

    def address(self, service: str, port: int) -> tuple[str, int]:
        """Return the address of the proxy in front of a service; the port is ignored."""
        return "127.0.0.1", self.proxy(service).port

    def exec(
        self, service: str, *command: str, replica: int = 0, check: bool = True
    ) -> CommandResult:
        """Run a command with a service's environment, in its data folder."""
        port = self._ports[service][replica]
        result = run_command(
            command,
            environment=self._environment(service, port),
            timeout=COMMAND_TIMEOUT,
            folder=self._data(service, port),
        )
        if check and result.exit_code != 0:
            raise command_error(command, result)
        return result

    def run_redis_command(
        self, service: str, *command: str, port: int | None = None, replica: int = 0
    ) -> str:
        """Send a command directly to the server, not through the proxy; the port is ignored."""
        request = b"*%d\r\n" % len(command)
        for word in map(str.encode, command):
            request += b"$%d\r\n%s\r\n" % (len(word), word)
        address = "127.0.0.1", self._ports[service][replica]
        try:
            with socket.create_connection(address, timeout=COMMAND_TIMEOUT) as connection:
                connection.sendall(request)
                with connection.makefile("rb") as replies:
                    return "\n".join(_read_reply(replies))
        except OSError as error:
            raise StackError(
                f"{service} does not respond to {' '.join(command)}: {error}"
            ) from error

    def proxy(self, service: str) -> Proxy:
        """Return the proxy in front of a service."""
        self._processes(service)
        return self._proxies[service]

    def mark(self) -> float:
        """Store the current length of each log, and return the moment."""
        now = super().mark()
        self._marks[now] = {
            process: len(process.log()) for each in self._running.values() for process in each
        }
        return now

    def logs(self, *, since: float = 0.0) -> dict[str, str]:
        """Return every process's output; ``since`` is a return value of :meth:`mark`."""
        lengths = self._marks.get(since, {})
        return {
            f"{service}-{number}": process.log()[lengths.get(process, 0) :]
            for service, processes in self._running.items()
            for number, process in enumerate(processes)
        }


def _probe_replica(service: str, process: Process, port: int) -> Replica:
    name = f"{service}:{port}"
    if not process.is_running():
        return Replica(service, name, "exited", process.exit_code)
    if process.is_frozen():
        return Replica(service, name, "paused")
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return Replica(service, name, "running", health="starting")
    return Replica(service, name, "running", health="healthy")


def _read_reply(stream: BinaryIO) -> list[str]:
    """Read one reply (RESP 2), and return its strings as a flat list."""
    line = stream.readline().rstrip(b"\r\n").decode()
    kind, rest = line[:1], line[1:]
    if kind == "-":
        raise StackError(rest)
    if kind == "$":
        return [] if rest == "-1" else [stream.read(int(rest) + 2)[:-2].decode()]
    if kind == "*":
        return [word for _ in range(int(rest)) for word in _read_reply(stream)]
    if kind not in ("+", ":"):
        raise StackError(f"not a reply of a Redis-compatible server: {line!r:.100}")
    return [rest]
