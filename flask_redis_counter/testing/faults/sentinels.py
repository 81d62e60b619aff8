"""The Sentinels of a stack: which master they name, and a failover on request."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from ..stacks.errors import StackError, StackTimeoutError
from ..stacks.stack import Stack
from ..waiting import WaitTimeoutError, wait_until

#: pytest leaves this module's frames out of tracebacks, and shows the line of the test.
__tracebackhide__ = True

_T = TypeVar("_T")

#: The default port of a Sentinel.
SENTINEL_PORT = 26379

#: Error replies of a Sentinel that may start a failover a moment later.
RETRIED_ERRORS = ("INPROG", "NOGOODSLAVE")

#: Seconds after which a failover that has not ended was probably aborted, and is requested again. A
#: request that comes while one ends would start another one.
RETRY_AFTER = 10.0


class Sentinels:
    """The Sentinels that run as the replicas of one service.

    :param stack: the stack.
    :param service: the service of the Sentinels.
    :param port: their port inside the stack, 1 to 65,535.
    """

    def __init__(self, stack: Stack, service: str, *, port: int = SENTINEL_PORT) -> None:
        self._stack = stack
        self._service = service
        self._port = port

    def find_master(self) -> str:
        """Return the name of the only monitored master.

        :raises StackError: the Sentinel monitors none, or several.
        """
        lines = self._ask("MASTERS").splitlines()
        fields = zip(lines[::2], lines[1::2], strict=False)  # all masters in one flat list
        names = [value for field, value in fields if field == "name"]
        if len(names) != 1:
            known = ", ".join(names) or "none"
            raise StackError(f"{self._service} monitors {known}: name the master to fail over")
        return names[0]

    def addresses(self, master: str) -> list[str]:
        """Return the address of a master that each of the Sentinels names.

        :raises StackError: a Sentinel does not know the master, or does not respond.
        """
        addresses = []
        for replica in range(len(self._stack.state(self._service))):
            reply = self._ask("GET-MASTER-ADDR-BY-NAME", master, replica=replica).split()
            if len(reply) != 2:
                raise StackError(f"{self._service} {replica} knows no master {master!r}")
            addresses.append(":".join(reply))
        return addresses

    def fail_over(self, master: str | None = None, *, timeout: float) -> None:
        """Let a Sentinel promote a replica, and wait until all Sentinels name the same new master.

        :param master: the name of the monitored master; None: the only one.
        :param timeout: seconds until a Sentinel must accept the request, and again until the
            Sentinels must agree on another master.
        :raises StackError: the master is not known, or the Sentinel refuses the failover.
        :raises StackTimeoutError: the timeout is over.
        """
        name = self.find_master() if master is None else master
        old, *_ = self.addresses(name)
        refusal = self._wait(
            lambda: self._request_failover(name), f"a failover of {name} begins", timeout
        )
        if isinstance(refusal, StackError):
            raise refusal

        requested_at = time.monotonic()

        def agree_on_another() -> bool:
            nonlocal requested_at
            first, *others = self.addresses(name)
            if first == old and time.monotonic() > requested_at + RETRY_AFTER:
                requested_at = time.monotonic()
                with suppress(StackError):  # it runs still
                    self._request_failover(name)
            return first != old and {first} == {first, *others}

        self._wait(agree_on_another, f"another master of {name} than {old}", timeout)

    def _request_failover(self, master: str) -> str | StackError:
        """Ask the first Sentinel for a failover, and return its reply or its final refusal.

        :raises StackError: the Sentinel may accept it later.
        """
        try:
            return self._ask("FAILOVER", master)
        except StackError as error:
            if any(code in str(error) for code in RETRIED_ERRORS):
                raise
            return error

    def _ask(self, *command: str, replica: int = 0) -> str:
        return self._stack.run_redis_command(
            self._service, "SENTINEL", *command, port=self._port, replica=replica
        )

    def _wait(self, condition: Callable[[], _T], what: str, timeout: float) -> _T:
        try:
            return wait_until(condition, what=what, timeout=timeout)
        except WaitTimeoutError as error:
            replicas, text = self._stack.describe()
            raise StackTimeoutError(f"{self._service}: {error}\n{text}", replicas) from None
