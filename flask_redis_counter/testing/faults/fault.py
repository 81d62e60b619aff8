"""A fault as a context manager, and the registry of the faults of a stack."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass

from ..stacks.errors import StackError
from ..stacks.replica import Replica
from ..stacks.stack import Stack

#: pytest leaves this module's frames out of tracebacks, and shows the line of the test.
__tracebackhide__ = True


@dataclass(frozen=True, slots=True)
class Event:
    """A phase of a fault.

    :ivar at: time of the event, in seconds since 1970.
    :ivar fault: name of the fault.
    :ivar phase: ``injecting``, ``active``, ``clearing`` or ``cleared``.
    """

    at: float
    fault: str
    phase: str

    def __str__(self) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(self.at))
        return f"{clock}.{int(self.at % 1 * 1000):03} {self.fault}: {self.phase}"


class FaultRegistry:
    """The active faults of a stack, and the history of all of them."""

    def __init__(self) -> None:
        self.history: list[Event] = []
        self._active: list[Fault] = []
        self._lock = threading.Lock()  # a nemesis uses another thread

    def acquire(self, fault: Fault) -> None:
        """Register a fault as active.

        :raises StackError: another active fault has the same target: clearing one of them would
            clear the other as well.
        """
        with self._lock:
            for other in self._active:
                both = fault.targets & other.targets
                apart = (
                    None not in (fault.replica, other.replica) and fault.replica != other.replica
                )
                if both and not apart:
                    raise StackError(
                        f"{fault.name}: {min(both)} can have one fault at a time, and has one "
                        f"already: {other.name}; end that block first"
                    )
            self._active.append(fault)

    def release(self, fault: Fault) -> None:
        """Unregister a fault, so that another fault can break its targets."""
        with self._lock:
            self._active.remove(fault)

    def record(self, fault: Fault, phase: str) -> None:
        """Add a phase of a fault to the history."""
        self.history.append(Event(time.time(), fault.name, phase))


class Fault(AbstractContextManager[None]):
    """A fault that is active while its ``with`` block runs. It can be used once.

    :param name: the name in the history.
    :param stack: the stack to break.
    :param service: the service to break, which must exist.
    :param inject: injects the fault, and returns when it is active.
    :param clear: clears the fault, even if ``inject`` failed before its end.
    :param check: gets the service's replicas, and raises an error if the fault is impossible.
    :param targets: names that no other active fault may have as a target; None: the service.
    :param replica: the only replica that has the fault; None: all of them.
    """

    def __init__(
        self,
        name: str,
        stack: Stack,
        service: str,
        inject: Callable[[], object],
        clear: Callable[[], object],
        *,
        registry: FaultRegistry,
        check: Callable[[tuple[Replica, ...]], object] | None = None,
        targets: Collection[str] | None = None,
        replica: int | None = None,
    ) -> None:
        self.name = name
        self.targets: frozenset[str] = frozenset({service} if targets is None else targets)
        self.replica = replica
        self._stack = stack
        self._service = service
        self._inject = inject
        self._clear = clear
        self._check = check
        self._registry = registry

    def __enter__(self) -> None:
        self._registry.acquire(self)
        try:
            self._check_service()
        except BaseException:
            self._registry.release(self)
            raise
        self._registry.record(self, "injecting")
        try:
            self._inject()
        except BaseException as error:
            self._end(error)
            raise
        self._registry.record(self, "active")

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._end(error)

    def _check_service(self) -> None:
        replicas = self._stack.state(self._service)
        if not replicas:
            existing = ", ".join(self._stack.services())
            raise StackError(f"{self.name}: the stack has no such service; it has {existing}")
        if self._check is not None:
            self._check(replicas)

    def _end(self, error: BaseException | None) -> None:
        self._registry.record(self, "clearing")
        try:
            self._clear()
        except Exception as clear_error:
            if error is None:
                raise
            error.add_note(f"{self.name}: not cleared: {clear_error}")
        else:
            self._registry.record(self, "cleared")
        finally:
            self._registry.release(self)


def check_running(fault: str, replicas: tuple[Replica, ...]) -> None:
    """Check that all replicas run.

    :raises StackError: a replica does not run, so that the fault would have no effect on it.
    """
    if not all(one.status == "running" for one in replicas):
        raise not_running(fault, replicas)


def not_running(fault: str, replicas: tuple[Replica, ...]) -> StackError:
    """Return the error for a fault of replicas that do not run."""
    states = ", ".join(map(str, replicas))
    return StackError(f"{fault}: the target does not run: {states}")
