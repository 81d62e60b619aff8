"""Faults, as context managers that always heal and never swallow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from .proxy import Trouble
from .stack import Stack, StackError

#: Megabytes that a file system may have free for :meth:`Faults.disk_full` to fill it.
SMALL_DISK_MB = 256

_FILLER = ".disk-full"

#: A fault that is there while its block runs.
Lasting: TypeAlias = AbstractContextManager[None]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done to a stack.

    :ivar at: when, in seconds since 1970.
    :ivar fault: which fault it belongs to.
    :ivar phase: ``begins``, ``is there``, ``heals`` or ``is over``.
    """

    at: float
    fault: str
    phase: str

    def __str__(self) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(self.at))
        return f"{clock}.{int(self.at % 1 * 1000):03} {self.fault} {self.phase}"


class Faults:
    """What may befall a stack.

    Each method is a context manager: the fault can be seen when its block begins, and is healed
    when it has ended, however that was. An error of the block goes on its way; where the fault
    cannot be healed, a note on it says so.

    :param stack: what they befall.
    :param within: seconds until a fault must be seen, and seen to be over.
    :ivar history: what was done, and when.
    """

    def __init__(self, stack: Stack, *, within: float = 30.0) -> None:
        self.stack = stack
        self._within = within
        self._troubles: dict[str, object] = {}
        self.history: list[Event] = []

    def stopped(self, service: str) -> Lasting:
        """Stop a service (SIGTERM): its port refuses."""
        return self._down(f"{service} stopped", service, lambda: self.stack.stop(service))

    def killed(self, service: str, *, replica: int | None = None) -> Lasting:
        """Kill a service (SIGKILL), or one replica of it, and start it again afterwards."""
        which = service if replica is None else f"{service} {replica}"
        return self._down(
            f"{which} killed", service, lambda: self.stack.kill(service, replica=replica), replica
        )

    def paused(self, service: str) -> Lasting:
        """Freeze a service: it accepts nothing and answers nothing."""

        def inflict() -> None:
            self.stack.pause(service)
            self._wait(service, "paused")

        def heal() -> None:
            # Another fault within this one may have ended it, and started it again.
            replicas = self.stack.state(service)
            if not replicas or any(one.status == "paused" for one in replicas):
                self.stack.unpause(service)
            self._wait(service, "running")

        return self._lasting(f"{service} paused", inflict, heal)

    def partitioned(self, service: str) -> Lasting:
        """Cut a service off the network: packets vanish, names may not resolve."""
        return self._lasting(
            f"{service} partitioned",
            lambda: self.stack.cut(service),
            lambda: self.stack.mend(service),
        )

    def slow(self, service: str, seconds: float) -> Lasting:
        """Let each packet from and to a service's proxy arrive so much later."""
        return self._troubled(service, "slow", seconds)

    def choked(self, service: str, bytes_per_second: float) -> Lasting:
        """Let so much through a service's proxy, in each direction of each connection."""
        return self._troubled(service, "choked", bytes_per_second)

    def reset(self, service: str) -> Lasting:
        """Reset the connections through a service's proxy, and each new one."""
        return self._troubled(service, "reset")

    def half_open(self, service: str) -> Lasting:
        """Let the connections that are open go silent, as when the peer lost its power."""
        return self._troubled(service, "half_open")

    def replies_lost(self, service: str) -> Lasting:
        """Let a service get its requests, and nobody hear its answers."""
        return self._troubled(service, "replies_lost")

    def disk_full(self, service: str, path: str) -> Lasting:
        """Fill the disk that a service's folder is on, which must be a small one of its own.

        :raises StackError: more than :data:`SMALL_DISK_MB` are free: it is the machine's.
        """
        filler = f"{path}/{_FILLER}"

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

        return self._lasting(f"disk of {service} full", inflict, heal)

    def out_of_memory(self, service: str) -> Lasting:
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

        return self._lasting(f"{service} out of memory", inflict, heal)

    def _down(
        self, fault: str, service: str, inflict: Callable[[], None], replica: int | None = None
    ) -> Lasting:
        def inflict_and_see() -> None:
            inflict()
            if replica is None:
                self._wait(service, "exited")

        return self._lasting(fault, inflict_and_see, lambda: self.stack.start(service))

    @contextmanager
    def _troubled(self, service: str, kind: Trouble, amount: float = 0.0) -> Iterator[None]:
        much = f" by {amount:g}" if amount else ""
        fault = f"network of {service} {kind.replace('_', ' ')}{much}"
        mine = object()
        if self._troubles.setdefault(service, mine) is not mine:
            # A proxy knows one trouble: this one would end the other, and healing it both.
            raise StackError(
                f"{fault}: something is wrong with it already, and one at a time can be"
            )
        try:
            proxy = self.stack.proxy(service)
            # Asked anew to heal: a proxy that was started again is reached elsewhere.
            with self._lasting(
                fault,
                lambda: proxy.trouble(kind, amount),
                lambda: self.stack.proxy(service).heal(),
            ):
                yield
        finally:
            del self._troubles[service]

    @contextmanager
    def _lasting(
        self, fault: str, inflict: Callable[[], None], heal: Callable[[], None]
    ) -> Iterator[None]:
        self._note(fault, "begins")
        try:
            inflict()
            self._note(fault, "is there")
            yield
        except BaseException as error:
            self._note(fault, "heals")
            try:
                heal()
            except Exception as failed:
                error.add_note(f"{fault}, and not healed: {failed}")
            else:
                self._note(fault, "is over")
            raise
        self._note(fault, "heals")
        heal()
        self._note(fault, "is over")

    def _wait(self, service: str, status: str) -> None:
        self.stack.wait_for(
            service, lambda one: one.status == status, what=status, within=self._within
        )

    def _note(self, fault: str, phase: str) -> None:
        self.history.append(Event(time.time(), fault, phase))
