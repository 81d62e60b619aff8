"""A stack of real processes, for machines without Docker."""

from __future__ import annotations

import shutil
import signal
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from .command import command_error, run_command
from .process import Process, free_port
from .proxy import Proxy
from .stack import CommandResult, Endpoint, Replica, Stack, StackError

#: pytest shows the line of the test, and not ours.
__tracebackhide__ = True

#: Seconds that a command in a service's environment, and an answer of a store, may take.
COMMAND_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Program:
    """How a service is run.

    In its arguments and environment ``{port}`` stands for the port that it is to listen on,
    ``{data}`` for a folder of its own, and ``{NAME}`` for the port where the service of that name
    is reached.

    :ivar command: the program and its arguments.
    :ivar environment: what it sees besides our own environment.
    :ivar replicas: how many there are of it.
    """

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    replicas: int = 1


class ProcessStack(Stack):
    """Processes, each service behind a proxy of its own.

    :param programs: the services, in the order in which they are started.
    :param entry: the service that is reached from here; its port is of no importance.
    """

    kind = "process"

    def __init__(self, programs: Mapping[str, Program], *, entry: Endpoint | None = None) -> None:
        super().__init__(entry)
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
        known = self._known(service, port)
        return Process(
            [argument.format(**known) for argument in program.command],
            log=self._folder / f"{service}-{port}.log",
            environment=self._environment(service, port),
        )

    def _known(self, service: str, port: int) -> dict[str, str | int]:
        ports = {name: proxy.port for name, proxy in self._proxies.items()}
        return {**ports, "port": port, "data": str(self._data(service, port))}

    def _data(self, service: str, port: int) -> Path:
        return self._folder / f"data-{service}-{port}"

    def _environment(self, service: str, port: int) -> dict[str, str]:
        known = self._known(service, port)
        given = self._programs[service].environment
        return {name: value.format(**known) for name, value in given.items()}

    def _processes(self, service: str) -> list[Process]:
        try:
            return self._running[service]
        except KeyError:
            raise StackError(f"there is no service {service!r}") from None

    def up(self, *services: str) -> None:
        """Start the services, by default all."""
        for service in services:
            self._spawn(service)
        if not services:
            for service in self.services():
                self.start(service)
            self.wait_ready()

    def down(self, *, volumes: bool = False) -> None:
        """Stop everything; with ``volumes`` the data and the logs go as well."""
        for service in reversed(self.services()):
            for process in self._running[service]:
                if process.runs():
                    process.signal(signal.SIGCONT)
                    process.stop()
        if volumes:
            for proxy in self._proxies.values():
                proxy.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, service: str, *, replica: int | None = None) -> None:
        """Start a service and wait until its ports take connections."""
        self._spawn(service, replica)
        self.wait_for(service, lambda one: one.ready, what="takes connections", replica=replica)

    def _spawn(self, service: str, replica: int | None = None) -> None:
        each = zip(self._processes(service), self._ports[service], strict=True)
        for number, (process, port) in enumerate(each):
            if replica in (None, number):
                self._data(service, port).mkdir(parents=True, exist_ok=True)
                process.start()

    def stop(self, service: str) -> None:
        """Stop a service and wait for its end."""
        for process in self._processes(service):
            process.stop()

    def kill(self, service: str, *, replica: int | None = None) -> None:
        """Kill a service or one replica of it, and all that it started."""
        processes = self._processes(service)
        for process in processes if replica is None else [processes[replica]]:
            process.kill()

    def pause(self, service: str) -> None:
        """Freeze a service."""
        for process in self._processes(service):
            process.signal(signal.SIGSTOP)

    def unpause(self, service: str) -> None:
        """Let a frozen service go on."""
        for process in self._processes(service):
            process.signal(signal.SIGCONT)

    def cut(self, service: str) -> None:
        """Let nothing through to a service and back."""
        self.proxy(service).cut()

    def mend(self, service: str) -> None:
        """Let everything through again."""
        self.proxy(service).heal()

    def scale(self, service: str, replicas: int) -> None:
        """Give a service so many processes, and wait until they take connections."""
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
        """Return the state of a service's processes; one that takes connections is healthy."""
        return tuple(
            _replica(service, process, port)
            for process, port in zip(self._processes(service), self._ports[service], strict=True)
        )

    def address(self, service: str, port: int) -> tuple[str, int]:
        """Return where the proxy before a service listens, whatever its port is."""
        return "127.0.0.1", self.proxy(service).port

    def exec(
        self, service: str, *command: str, replica: int = 0, check: bool = True
    ) -> CommandResult:
        """Run a command in a service's environment, in its data folder."""
        port = self._ports[service][replica]
        done = run_command(
            command,
            environment=self._environment(service, port),
            timeout=COMMAND_TIMEOUT,
            folder=self._data(service, port),
        )
        if check and done.exit_code != 0:
            raise command_error(command, done)
        return done

    def store(self, service: str, *command: str) -> str:
        """Send a command past the proxy."""
        request = b"*%d\r\n" % len(command)
        for word in map(str.encode, command):
            request += b"$%d\r\n%s\r\n" % (len(word), word)
        address = "127.0.0.1", self._ports[service][0]
        try:
            with socket.create_connection(address, timeout=COMMAND_TIMEOUT) as connection:
                connection.sendall(request)
                with connection.makefile("rb") as answers:
                    return "\n".join(_answer(answers))
        except OSError as error:
            raise StackError(f"{service} does not answer {' '.join(command)}: {error}") from error

    def proxy(self, service: str) -> Proxy:
        """Return the proxy before a service."""
        self._processes(service)
        return self._proxies[service]

    def mark(self) -> float:
        """Remember how much each process has printed so far."""
        now = super().mark()
        self._marks[now] = {
            process: len(process.log()) for each in self._running.values() for process in each
        }
        return now

    def logs(self, *, since: float = 0.0) -> dict[str, str]:
        """Return every process's output; ``since`` is what :meth:`mark` returned."""
        seen = self._marks.get(since, {})
        return {
            f"{service}-{number}": process.log()[seen.get(process, 0) :]
            for service, processes in self._running.items()
            for number, process in enumerate(processes)
        }


def _replica(service: str, process: Process, port: int) -> Replica:
    name = f"{service}:{port}"
    if not process.runs():
        return Replica(service, name, "exited", process.exit_code)
    if process.frozen():
        return Replica(service, name, "paused")
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return Replica(service, name, "running", health="starting")
    return Replica(service, name, "running", health="healthy")


def _answer(stream: BinaryIO) -> list[str]:
    """Read one answer (RESP 2), and return what it has, flat."""
    line = stream.readline().rstrip(b"\r\n").decode()
    kind, rest = line[:1], line[1:]
    if kind == "-":
        raise StackError(rest)
    if kind == "$":
        return [] if rest == "-1" else [stream.read(int(rest) + 2)[:-2].decode()]
    if kind == "*":
        return [word for _ in range(int(rest)) for word in _answer(stream)]
    if kind not in ("+", ":"):
        raise StackError(f"this is no answer of a Redis-compatible server: {line!r:.100}")
    return [rest]
