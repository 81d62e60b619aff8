"""Faults, as context managers that always heal and never swallow."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeAlias

from ..stacks.proxy import NetworkFault
from ..stacks.stack import Replica, Stack, StackError
from .fault import Event, Fault, FaultRegistry

#: pytest shows the line of the test, and not ours.
__tracebackhide__ = True

#: Megabytes that a file system may have free for :meth:`Faults.disk_full` to fill it.
SMALL_DISK_MB = 256

#: A fault that is there while its block runs.
FaultContext: TypeAlias = AbstractContextManager[None]


class Faults:
    """What may befall a stack.

    Each method is a context manager: the fault can be seen when its block begins, and is healed
    when it has ended, however that was. An error of the block goes on its way; where the fault
    cannot be healed, a note on it says so.

    One fault at a time befalls a service, or a replica of it, as a second one would end the
    first: it is a :exc:`StackError`, and so is a fault of what does not run, or is not there.

    :param stack: what they befall.
    :param within: seconds until a fault must be seen, and seen to be over.
    :ivar history: what was done, and when.
    """

    def __init__(self, stack: Stack, *, within: float = 30.0) -> None:
        self.stack = stack
        self._within = within
        self._register = FaultRegistry()
        self.history: list[Event] = self._register.history

    def stopped(self, service: str) -> FaultContext:
        """Stop a service (SIGTERM): its port refuses."""
        return self._down(f"{service} stopped", service, lambda: self.stack.stop(service))

    def killed(self, service: str, *, replica: int | None = None) -> FaultContext:
        """Kill a service (SIGKILL), or one replica of it, and start what was killed afterwards.

        :param replica: its number, from 0; None: all of them.
        """
        which = service if replica is None else f"{service} {replica}"
        return self._down(
            f"{which} killed", service, lambda: self.stack.kill(service, replica=replica), replica
        )

    def paused(self, service: str) -> FaultContext:
        """Freeze a service: it accepts nothing and answers nothing."""

        def inflict() -> None:
            self.stack.pause(service)
            self._wait(service, "paused")

        def heal() -> None:
            # The test may have ended it, and started it again.
            replicas = self.stack.state(service)
            if not replicas or any(one.status == "paused" for one in replicas):
                self.stack.unpause(service)
            self._wait(service, "running")

        fault = f"{service} paused"
        return self._lasting(fault, service, inflict, heal, choose=partial(_check_running, fault))

    def partitioned(self, service: str) -> FaultContext:
        """Cut a service off the network: packets vanish, names may not resolve."""
        fault = f"{service} partitioned"
        return self._lasting(
            fault,
            service,
            lambda: self.stack.cut(service),
            lambda: self.stack.mend(service),
            choose=partial(_check_running, fault),
            befalls={service, _proxy_of(service)},  # which is what cuts off a process
        )

    def slow(self, service: str, seconds: float) -> FaultContext:
        """Let each packet from and to a service's proxy arrive so much later."""
        return self._troubled(service, "slow", seconds)

    def choked(self, service: str, bytes_per_second: float) -> FaultContext:
        """Let so much through a service's proxy, in each direction of each connection."""
        return self._troubled(service, "choked", bytes_per_second)

    def reset(self, service: str) -> FaultContext:
        """Reset the connections through a service's proxy, and each new one."""
        return self._troubled(service, "reset")

    def half_open(self, service: str) -> FaultContext:
        """Let the connections that are open go silent, as when the peer lost its power."""
        return self._troubled(service, "half_open")

    def replies_lost(self, service: str) -> FaultContext:
        """Let a service get its requests, and nobody hear its answers.

        A new connection gets the answers to :data:`~.proxy.HANDSHAKE`: its client would never
        send a command otherwise. Over TLS, and in other protocols, it gets none.
        """
        return self._troubled(service, "replies_lost")

    def disk_full(self, service: str, path: str) -> FaultContext:
        """Fill the disk that a service's folder is on, which must be a small one of its own.

        :raises StackError: more than :data:`SMALL_DISK_MB` are free: it is the machine's.
        """
        filler = f"{path}/.disk-full-{secrets.token_hex(4)}"

        def free() -> int:
            told = self.stack.exec(service, "df", "-Pk", path).output.splitlines()[-1].split()
            return int(told[3]) * 1024

        def inflict() -> None:
            if free() > SMALL_DISK_MB * 1024 * 1024:
                raise StackError(
                    f"{path} of {service} has {free() // 2**20} MB free: only a disk with less "
                    f"than {SMALL_DISK_MB} is filled; give the service a volume with a size"
                )
            self.stack.exec(service, "dd", "if=/dev/zero", f"of={filler}", "bs=4k", check=False)
            if left := free():
                raise StackError(f"{path} of {service} has still {left} bytes free")

        def heal() -> None:
            self.stack.exec(service, "rm", "-f", filler)

        # Others go together with it: none of them ends it.
        return self._lasting(f"disk of {service} full", service, inflict, heal, befalls=())

    def out_of_memory(self, service: str) -> FaultContext:
        """Let a Redis-compatible server refuse whatever takes memory, and evict nothing."""
        before: dict[str, str] = {}
        settings = {"maxmemory-policy": "noeviction", "maxmemory": "1"}

        def inflict() -> None:
            for name, setting in settings.items():
                before[name] = self.stack.store(service, "CONFIG", "GET", name).split()[-1]
                self.stack.store(service, "CONFIG", "SET", name, setting)
            try:
                self.stack.store(service, "SET", "out-of-memory", "", "EX", "1")
            except StackError as error:
                if "OOM" not in str(error):
                    raise
            else:
                raise StackError(f"{service} still takes memory")

        def heal() -> None:
            for name, setting in before.items():
                self.stack.store(service, "CONFIG", "SET", name, setting)

        return self._lasting(f"{service} out of memory", service, inflict, heal)

    def _down(
        self, fault: str, service: str, inflict: Callable[[], None], replica: int | None = None
    ) -> FaultContext:
        chosen: list[int | None] = []  # None: all there are

        def choose(replicas: tuple[Replica, ...]) -> None:
            running = [n for n, one in enumerate(replicas) if one.status == "running"]
            chosen.extend(n for n in running if replica in (None, n))
            if not chosen:
                raise _not_running(fault, replicas)
            if len(chosen) == len(replicas):
                chosen[:] = [None]

        def inflict_and_see() -> None:
            inflict()
            for number in chosen:
                self._wait(service, "exited", number)

        def heal() -> None:
            for number in chosen:
                self.stack.start(service, replica=number)

        return self._lasting(fault, service, inflict_and_see, heal, choose=choose, replica=replica)

    def _troubled(self, service: str, kind: NetworkFault, amount: float = 0.0) -> FaultContext:
        much = f" by {amount:g}" if amount else ""
        return self._lasting(
            f"network of {service} {kind.replace('_', ' ')}{much}",
            service,
            lambda: self.stack.proxy(service).trouble(kind, amount),
            # Asked anew to heal: a proxy that was started again is reached elsewhere.
            lambda: self.stack.proxy(service).heal(),
            choose=lambda _: self.stack.proxy(service),
            befalls={_proxy_of(service)},
        )

    def _lasting(
        self,
        name: str,
        service: str,
        inflict: Callable[[], object],
        heal: Callable[[], object],
        **more: Any,
    ) -> FaultContext:
        return Fault(name, self.stack, service, inflict, heal, register=self._register, **more)

    def _wait(self, service: str, status: str, replica: int | None = None) -> None:
        self.stack.wait_for(
            service,
            lambda one: one.status == status,
            what=status,
            within=self._within,
            replica=replica,
        )


def _check_running(fault: str, replicas: tuple[Replica, ...]) -> None:
    """Check that all replicas run.

    :raises StackError: one of them does not, and the fault would do nothing to it.
    """
    if not all(one.status == "running" for one in replicas):
        raise _not_running(fault, replicas)


def _not_running(fault: str, replicas: tuple[Replica, ...]) -> StackError:
    said = ", ".join(map(str, replicas))
    return StackError(f"{fault}: what it is to befall does not run: {said}")


def _proxy_of(service: str) -> str:
    """Return the name of the proxy before a service."""
    return f"{service}-proxy"
