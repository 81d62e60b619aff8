"""The state of one replica of a service."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Replica:
    """One container or process of a service.

    :ivar service: the service's name.
    :ivar name: a name that is unique in the stack.
    :ivar status: ``running``, ``paused``, ``exited``, or another status of Docker.
    :ivar exit_code: the exit code, negative for a signal; None while it runs.
    :ivar health: ``healthy``, ``unhealthy`` or ``starting``; None without a health check.
    :ivar health_output: last line of the last health check, if it is not healthy.
    """

    service: str
    name: str
    status: str
    exit_code: int | None = None
    health: str | None = None
    health_output: str = ""

    @property
    def is_ready(self) -> bool:
        """Whether it runs, and is healthy if it has a health check."""
        return self.status == "running" and self.health in (None, "healthy")

    def __str__(self) -> str:
        ended = "" if self.exit_code is None else f" with {self.exit_code}"
        health = f", {self.health}" if self.health else ""
        return f"{self.name} {self.status}{ended}{health}" + (
            f": {self.health_output}" if self.health_output else ""
        )
