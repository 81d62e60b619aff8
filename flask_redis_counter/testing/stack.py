"""What every stack under test can do, however it is built."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Self

import requests

from .waiting import wait_until


class StackError(Exception):
    """A stack did not do what it was told; the text has the output of what failed."""


class Stack(ABC):
    """A web service and its store, as running programs.

    The services are ``web`` and ``redis``; a scaled stack has several replicas of ``web``.
    As a context manager it is up inside, and gone without a trace afterwards, also when it
    did not come up.
    """

    kind: ClassVar[str]

    #: Every service's log from when an error ended the ``with`` block, for reports.
    last_words: dict[str, str] | None = None

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
    def start(self, service: str) -> None:
        """Start a service that was stopped or killed."""

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
        """Cut a service off the network, both ways."""

    @abstractmethod
    def mend(self, service: str) -> None:
        """Put a service back on the network, under its name."""

    @abstractmethod
    def url(self) -> str:
        """Where ``web`` is reached from here, asked anew: a port may change with a restart."""

    @abstractmethod
    def logs(self) -> dict[str, str]:
        """Return every service's log."""

    def restart(self, service: str) -> None:
        """Stop and start a service."""
        self.stop(service)
        self.start(service)

    def wait_ready(self, *, within: float = 30.0) -> None:
        """Wait until ``web`` says that its store answers.

        :raises WaitTimeoutError: it did not in time.
        """
        wait_until(
            lambda: requests.get(f"{self.url()}/readyz", timeout=2).status_code == 200,
            what=f"{self.kind} stack ready",
            within=within,
        )
