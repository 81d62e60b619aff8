"""The interface of all stacks."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import ClassVar, Self

from .. import direct
from ..waiting import PAUSE, WaitTimeoutError, wait_until
from .command import CommandResult
from .errors import StackError, StackTimeoutError
from .proxy import ProxyControl
from .replica import Replica

#: pytest leaves this module's frames out of tracebacks, and shows the line of the test.
__tracebackhide__ = True

#: Default timeout until a stack must be ready, in seconds.
READY_TIMEOUT = 30.0

#: Seconds between two requests to the ready path. Each request is a line in the service's log.
READY_PAUSE = 0.2

#: Number of lines of each log that an error shows.
LAST_LINES = 20


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a stack, for its clients.

    :ivar service: the service.
    :ivar port: its port inside the stack.
    :ivar ready_path: a path that returns 200 when the stack is ready; None: no such path, the
        health of the services is enough.
    """

    service: str
    port: int
    ready_path: str | None = None


class Stack(ABC):
    """Services that work together, as running programs.

    As a context manager it is up inside the block, and removed completely afterwards, even if it
    did not start.

    :param endpoint: address of the stack, for :meth:`url` and :meth:`wait_ready`.
    """

    kind: ClassVar[str]

    #: Every service's log at the time when an error ended the ``with`` block, for reports.
    final_logs: dict[str, str] | None = None

    def __init__(self, endpoint: Endpoint | None = None) -> None:
        self.endpoint = endpoint

    def __enter__(self) -> Self:
        try:
            self.up()
        except BaseException as error:
            self.__exit__(type(error))
            raise
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        try:
            if error is not None:
                self.final_logs = self.logs()
        finally:
            self.down(volumes=True)

    @abstractmethod
    def up(self, *services: str) -> None:
        """Start all services and wait until they are ready; or start only those named."""

    @abstractmethod
    def down(self, *, volumes: bool = False) -> None:
        """Stop and remove everything; the data only with ``volumes``."""

    @abstractmethod
    def start(self, service: str, *, replica: int | None = None) -> None:
        """Start a service that was stopped or killed, and wait until it is healthy.

        The services that it depends on are not started.

        :param replica: only this one, counted from 0.
        """

    @abstractmethod
    def stop(self, service: str) -> None:
        """Stop a service with SIGTERM, and wait until it has ended."""

    @abstractmethod
    def kill(self, service: str, *, replica: int | None = None) -> None:
        """Kill a service with SIGKILL, or one replica of it, counted from 0."""

    @abstractmethod
    def pause(self, service: str) -> None:
        """Freeze a service: it keeps its connections, and does not respond."""

    @abstractmethod
    def unpause(self, service: str) -> None:
        """Resume a frozen service."""

    @abstractmethod
    def isolate(self, service: str, *, with_clients: Collection[str] = ()) -> None:
        """Disconnect a service from the network, in both directions.

        :param with_clients: services that still reach it, under its name. Only a
            :class:`.ComposeStack` can do so.
        :raises StackError: the service, or a client, cannot be disconnected or connected.
        """

    @abstractmethod
    def reconnect(self, service: str) -> None:
        """Connect an isolated service to its network again, under its name."""

    @abstractmethod
    def scale(self, service: str, replicas: int) -> None:
        """Set the number of replicas of a service, and wait until they are healthy."""

    @abstractmethod
    def services(self) -> tuple[str, ...]:
        """Return the names of all services."""

    def one_shot_services(self) -> frozenset[str]:
        """Return the services that run once and must exit with 0, as a migration."""
        return frozenset()

    @abstractmethod
    def state(self, service: str) -> tuple[Replica, ...]:
        """Return the current state of a service's replicas."""

    @abstractmethod
    def address(self, service: str, port: int) -> tuple[str, int]:
        """Return host and port where clients outside the stack reach a service's port.

        It is looked up in each call, because it may change when the service is restarted.
        """

    @abstractmethod
    def exec(
        self, service: str, *command: str, replica: int = 0, check: bool = True
    ) -> CommandResult:
        """Run a command in the container or folder of a service, with its environment.

        :param check: whether an exit code other than 0 is an error.
        :raises StackError: the command could not be started, took too long, or failed.
        """

    @abstractmethod
    def run_redis_command(
        self, service: str, *command: str, port: int | None = None, replica: int = 0
    ) -> str:
        """Send a command to a Redis-compatible server of the stack, and return its reply.

        :param port: its port inside the stack, if it is not the default; a
            :class:`.ProcessStack` ignores it.
        :param replica: the replica's number, from 0.
        :raises StackError: there is no reply, or it is an error.
        """

    @abstractmethod
    def proxy(self, service: str) -> ProxyControl:
        """Return the proxy in front of a service.

        :raises StackError: the service has no proxy.
        """

    @abstractmethod
    def logs(self, *, since: float = 0.0) -> dict[str, str]:
        """Return every service's log.

        :param since: a return value of :meth:`mark`: only output after that moment.
        """

    def mark(self) -> float:
        """Return the current moment, for :meth:`logs`."""
        return time.time()

    def url(self, service: str | None = None, port: int | None = None) -> str:
        """Return the HTTP URL of a service, by default that of the endpoint.

        It is looked up in each call, because it may change when the service is restarted.

        :raises StackError: no address outside the stack, or only one argument is given.
        """
        if (service is None) != (port is None):
            raise StackError("name a service and its port, or neither of them for the endpoint")
        if service is None or port is None:
            if self.endpoint is None:
                raise StackError("the stack has no endpoint: name a service and its port")
            service, port = self.endpoint.service, self.endpoint.port
        return "http://{}:{}".format(*self.address(service, port))

    def restart(self, service: str) -> None:
        """Stop and start a service."""
        self.stop(service)
        self.start(service)

    def wait_ready(self, *, timeout: float = READY_TIMEOUT) -> None:
        """Wait until every service is healthy, and the endpoint's ready path returns 200.

        The :meth:`one_shot_services` must have exited with 0.

        :param timeout: seconds for each service, and for the ready path.
        :raises StackTimeoutError: the stack was not ready in time.
        """
        one_shot_services = self.one_shot_services()
        for service in self.services():
            if service in one_shot_services:
                self.wait_for(service, lambda one: one.exit_code == 0, what="done", timeout=timeout)
            else:
                self.wait_for(service, lambda one: one.is_ready, what="ready", timeout=timeout)
        endpoint = self.endpoint
        if endpoint is not None and endpoint.ready_path is not None:
            path = endpoint.ready_path

            def is_ready() -> bool:
                response = direct.get(f"{self.url()}{path}", timeout=2)
                response.raise_for_status()  # its message has the status
                return response.status_code == 200

            self._wait(is_ready, f"{path} returns 200", timeout, pause=READY_PAUSE)

    def wait_for(
        self,
        service: str,
        condition: Callable[[Replica], bool],
        *,
        what: str,
        timeout: float = 30.0,
        replica: int | None = None,
    ) -> None:
        """Wait until a condition is true for all replicas of a service; it must have some.

        :param what: the condition in words, for the error.
        :param replica: only this one, counted from 0.
        :raises StackTimeoutError: the condition did not become true in time.
        """

        def is_true_for_all() -> bool:
            replicas = self.state(service)
            chosen = replicas if replica is None else replicas[replica : replica + 1]
            return bool(chosen) and all(map(condition, chosen))

        which = service if replica is None else f"{service} {replica}"
        self._wait(is_true_for_all, f"{which} {what}", timeout)

    def describe(self) -> tuple[tuple[Replica, ...], str]:
        """Return the state of all replicas, and a text with the state and the end of each log."""
        try:
            replicas = tuple(one for service in self.services() for one in self.state(service))
            logs = self.logs()
        except StackError as error:
            return (), f"and its state is not available: {error}"
        lines = [f"  {one}" for one in replicas]
        for service, log in logs.items():
            lines += [f"  {service}| {line}" for line in log.splitlines()[-LAST_LINES:]]
        return replicas, "\n".join(lines)

    def _wait(
        self, condition: Callable[[], object], what: str, timeout: float, *, pause: float = PAUSE
    ) -> None:
        try:
            wait_until(condition, what=what, timeout=timeout, pause=pause)
        except WaitTimeoutError as error:
            replicas, text = self.describe()
            raise StackTimeoutError(f"{self.kind} stack: {error}\n{text}", replicas) from None
