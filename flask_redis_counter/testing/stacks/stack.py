"""What every stack under test can do, however it is built."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

from .. import direct
from ..waiting import PAUSE, WaitTimeoutError, wait_until
from .proxy import ProxyControl

#: pytest shows the line of the test, and not ours.
__tracebackhide__ = True

#: Seconds that a stack may take to be ready, by default.
READY_TIMEOUT = 30.0

#: Seconds between two looks whether its entry is: each is a line in a log.
READY_PAUSE = 0.2

#: Lines of a log's end that an error shows.
LAST_LINES = 20


@dataclass(frozen=True, slots=True)
class Replica:
    """One running program of a service, or what is left of it.

    :ivar service: the service's name.
    :ivar name: what tells it from the others.
    :ivar status: ``running``, ``paused``, ``exited``, or another word of Docker's.
    :ivar exit_code: what it ended with, below 0 for a signal; None while it runs.
    :ivar health: ``healthy``, ``unhealthy``, ``starting``; None where nothing checks it.
    :ivar complaint: the last line of the last check, of one that is not healthy.
    """

    service: str
    name: str
    status: str
    exit_code: int | None = None
    health: str | None = None
    complaint: str = ""

    @property
    def ready(self) -> bool:
        """Whether it runs, and nothing says that it is not healthy."""
        return self.status == "running" and self.health in (None, "healthy")

    def __str__(self) -> str:
        ended = "" if self.exit_code is None else f" with {self.exit_code}"
        health = f", {self.health}" if self.health else ""
        return f"{self.name} {self.status}{ended}{health}" + (
            f": {self.complaint}" if self.complaint else ""
        )


@dataclass(frozen=True, slots=True)
class CommandResult:
    """A command that came to its end.

    :ivar exit_code: what it ended with.
    :ivar output: what it printed on its standard output.
    :ivar errors: what it printed on its standard error.
    """

    exit_code: int
    output: str
    errors: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a stack is reached from here.

    :ivar service: the service.
    :ivar port: its port, inside the stack.
    :ivar ready: a path that answers 200 once the stack is ready; None: its health says so.
    """

    service: str
    port: int
    ready: str | None = None


class StackError(Exception):
    """A stack did not do what it was told; the text has the output of what failed.

    :ivar replicas: in what state the stack was then.
    """

    def __init__(self, text: str, replicas: tuple[Replica, ...] = ()) -> None:
        super().__init__(text)
        self.replicas = replicas


class StackTimeoutError(StackError, TimeoutError):
    """It did not do so in time."""


class Stack(ABC):
    """Services that work together, as running programs.

    As a context manager it is up inside, and gone without a trace afterwards, also when it
    did not come up.

    :param entry: where it is reached from here, for :meth:`url` and :meth:`wait_ready`.
    """

    kind: ClassVar[str]

    #: Every service's log from when an error ended the ``with`` block, for reports.
    last_words: dict[str, str] | None = None

    def __init__(self, entry: Endpoint | None = None) -> None:
        self.entry = entry

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
                self.last_words = self.logs()
        finally:
            self.down(volumes=True)

    @abstractmethod
    def up(self, *services: str) -> None:
        """Start the services, by default all, without waiting for those not named."""

    @abstractmethod
    def down(self, *, volumes: bool = False) -> None:
        """Stop and remove everything; the data only with ``volumes``."""

    @abstractmethod
    def start(self, service: str, *, replica: int | None = None) -> None:
        """Start a service that was stopped or killed, and wait until it is healthy.

        What it depends on is left as it is.

        :param replica: only that one, counted from 0.
        """

    @abstractmethod
    def stop(self, service: str) -> None:
        """Stop a service the polite way (SIGTERM) and wait for its end."""

    @abstractmethod
    def kill(self, service: str, *, replica: int | None = None) -> None:
        """Kill a service (SIGKILL), or one replica of it, counted from 0."""

    @abstractmethod
    def pause(self, service: str) -> None:
        """Freeze a service: it keeps its connections and answers nothing."""

    @abstractmethod
    def unpause(self, service: str) -> None:
        """Let a frozen service go on."""

    @abstractmethod
    def cut(self, service: str) -> None:
        """Cut a service off the network, both ways, and see that it is."""

    @abstractmethod
    def mend(self, service: str) -> None:
        """Put a service back on the network, under its name, and see that it is."""

    @abstractmethod
    def scale(self, service: str, replicas: int) -> None:
        """Give a service so many replicas, and wait until they are healthy."""

    @abstractmethod
    def services(self) -> tuple[str, ...]:
        """Return the names of all services."""

    def jobs(self) -> frozenset[str]:
        """Return those that do something once, and whose end others wait for."""
        return frozenset()

    @abstractmethod
    def state(self, service: str) -> tuple[Replica, ...]:
        """Return what becomes of a service's replicas now."""

    @abstractmethod
    def address(self, service: str, port: int) -> tuple[str, int]:
        """Return the host and the port where a service's port is reached from here.

        Asked anew each time: it may change when the service is started again.
        """

    @abstractmethod
    def exec(
        self, service: str, *command: str, replica: int = 0, check: bool = True
    ) -> CommandResult:
        """Run a command where a service runs, in its environment.

        :param check: whether an exit code other than 0 is an error.
        :raises StackError: it could not be run, took too long, or failed.
        """

    @abstractmethod
    def store(self, service: str, *command: str) -> str:
        """Send a command to a Redis-compatible server of the stack, and return its answer.

        :raises StackError: it is none, does not answer, or answers with an error.
        """

    @abstractmethod
    def proxy(self, service: str) -> ProxyControl:
        """Return the proxy that stands before a service.

        :raises StackError: there is none.
        """

    @abstractmethod
    def logs(self, *, since: float = 0.0) -> dict[str, str]:
        """Return every service's log.

        :param since: what :meth:`mark` returned: only what was printed from then on.
        """

    def mark(self) -> float:
        """Return this moment, for :meth:`logs`."""
        return time.time()

    def url(self, service: str | None = None, port: int | None = None) -> str:
        """Return where a service answers HTTP, by default the entry, asked anew each time.

        :raises StackError: it is not reached from here, or only one of the two is given.
        """
        if (service is None) != (port is None):
            raise StackError("name a service and its port, or neither of them for the entry")
        if service is None or port is None:
            if self.entry is None:
                raise StackError("the stack has no entry: name a service and its port")
            service, port = self.entry.service, self.entry.port
        return "http://{}:{}".format(*self.address(service, port))

    def restart(self, service: str) -> None:
        """Stop and start a service."""
        self.stop(service)
        self.start(service)

    def wait_ready(self, *, within: float = READY_TIMEOUT) -> None:
        """Wait until every service is healthy, and the entry says that it is ready.

        Those of :meth:`jobs` must have come to a good end.

        :raises StackTimeoutError: they were not in time.
        """
        jobs = self.jobs()
        for service in self.services():
            if service in jobs:
                self.wait_for(service, lambda one: one.exit_code == 0, what="done", within=within)
            else:
                self.wait_for(service, lambda one: one.ready, what="ready", within=within)
        entry = self.entry
        if entry is not None and entry.ready is not None:
            path = entry.ready

            def answers() -> bool:
                answer = direct.get(f"{self.url()}{path}", timeout=2)
                answer.raise_for_status()  # the error says what it was
                return answer.status_code == 200

            self._wait(answers, f"{path} answers 200", within, pause=READY_PAUSE)

    def wait_for(
        self,
        service: str,
        is_so: Callable[[Replica], bool],
        *,
        what: str,
        within: float = 30.0,
        replica: int | None = None,
    ) -> None:
        """Wait until something is so for all replicas of a service, of which there must be some.

        :param what: the condition in words, for the error.
        :param replica: only for that one, counted from 0.
        :raises StackTimeoutError: it was not in time.
        """

        def look() -> bool:
            replicas = self.state(service)
            chosen = replicas if replica is None else replicas[replica : replica + 1]
            return bool(chosen) and all(map(is_so, chosen))

        which = service if replica is None else f"{service} {replica}"
        self._wait(look, f"{which} {what}", within)

    def describe(self) -> tuple[tuple[Replica, ...], str]:
        """Return the state of all replicas, and it as text with the end of each log."""
        try:
            replicas = tuple(one for service in self.services() for one in self.state(service))
            logs = self.logs()
        except StackError as error:
            return (), f"and its state is not to be had: {error}"
        lines = [f"  {one}" for one in replicas]
        for service, log in logs.items():
            lines += [f"  {service}| {line}" for line in log.splitlines()[-LAST_LINES:]]
        return replicas, "\n".join(lines)

    def _wait(
        self, look: Callable[[], object], what: str, within: float, *, pause: float = PAUSE
    ) -> None:
        try:
            wait_until(look, what=what, within=within, pause=pause)
        except WaitTimeoutError as error:
            replicas, text = self.describe()
            raise StackTimeoutError(f"{self.kind} stack: {error}\n{text}", replicas) from None
