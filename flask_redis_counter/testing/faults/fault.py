"""A fault that lasts as long as its block."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass

from ..stacks.stack import Replica, Stack, StackError

#: pytest shows the line of the test, and not ours.
__tracebackhide__ = True


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


class FaultRegistry:
    """The faults of a stack: those that there are now, and what there was."""

    def __init__(self) -> None:
        self.history: list[Event] = []
        self._lasting: list[Fault] = []
        self._lock = threading.Lock()  # a nemesis has a thread of its own

    def enter(self, fault: Fault) -> None:
        """Let a fault befall what nothing else does now.

        :raises StackError: something else does, and one of them would end the other.
        """
        with self._lock:
            for other in self._lasting:
                both = fault.befalls & other.befalls
                apart = (
                    None not in (fault.replica, other.replica) and fault.replica != other.replica
                )
                if both and not apart:
                    raise StackError(
                        f"{fault.name}: one fault at a time can befall {min(both)}, and there is "
                        f"one already: {other.name}"
                    )
            self._lasting.append(fault)

    def leave(self, fault: Fault) -> None:
        """Let others befall it."""
        with self._lock:
            self._lasting.remove(fault)

    def note(self, fault: Fault, phase: str) -> None:
        """Write down what becomes of a fault."""
        self.history.append(Event(time.time(), fault.name, phase))


class Fault(AbstractContextManager[None]):
    """Something that befalls a stack while its block runs, once.

    :param name: for the history.
    :param stack: what it befalls.
    :param service: the service, which must be there.
    :param inflict: brings it about; it can be seen when that returns.
    :param heal: ends it, also where it came about half way.
    :param choose: looks at the service's replicas, and raises where there is nothing to befall.
    :param befalls: what no other fault may befall meanwhile; None: the service.
    :param replica: the only replica that it befalls.
    """

    def __init__(
        self,
        name: str,
        stack: Stack,
        service: str,
        inflict: Callable[[], object],
        heal: Callable[[], object],
        *,
        register: FaultRegistry,
        choose: Callable[[tuple[Replica, ...]], object] | None = None,
        befalls: Collection[str] | None = None,
        replica: int | None = None,
    ) -> None:
        self.name = name
        self.befalls = frozenset({service} if befalls is None else befalls)
        self.replica = replica
        self._stack = stack
        self._service = service
        self._inflict = inflict
        self._heal = heal
        self._choose = choose
        self._register = register

    def __enter__(self) -> None:
        self._register.enter(self)
        try:
            self._look()
        except BaseException:
            self._register.leave(self)
            raise
        self._register.note(self, "begins")
        try:
            self._inflict()
        except BaseException as error:
            self._end(error)
            raise
        self._register.note(self, "is there")

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._end(error)

    def _look(self) -> None:
        replicas = self._stack.state(self._service)
        if not replicas:
            there = ", ".join(self._stack.services())
            raise StackError(f"{self.name}: the stack has no such service, but {there}")
        if self._choose is not None:
            self._choose(replicas)

    def _end(self, error: BaseException | None) -> None:
        self._register.note(self, "heals")
        try:
            self._heal()
        except Exception as failed:
            if error is None:
                raise
            error.add_note(f"{self.name}, and not healed: {failed}")
        else:
            self._register.note(self, "is over")
        finally:
            self._register.leave(self)
