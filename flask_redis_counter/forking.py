"""Fork safety: objects whose state belongs to one process, and hooks around forks."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol


class ForkSafe:
    """Base of objects that reset their state in a forked child.

    Methods, or their callers, call :meth:`enter` before they use the state. It compares the
    process ID, which is a system call. Python's fork hooks are not enough: uWSGI forks in C, and
    runs none of them, or only those of the child.
    """

    def __init__(self) -> None:
        self._pid = 0
        self._resets: dict[int, Any] = {}

    def enter(self) -> None:
        """Reset the state if it belongs to another process, or if there is none yet."""
        if self._pid != os.getpid():
            self._reset_once(os.getpid())

    def belongs_here(self) -> bool:
        """Return whether the state is that of this process, not that of its parent."""
        return self._pid == os.getpid()

    def _reset_once(self, pid: int) -> None:
        # Several threads of a child may get here at once. The lock must be new in the child: a
        # thread of the parent may hold any older one. setdefault is atomic. The lock is
        # reentrant because a signal handler may interrupt its holder.
        with self._resets.setdefault(pid, threading.RLock()):
            if self._pid != pid:
                self._reset()
                self._pid = pid

    def _reset(self) -> None:
        """Replace the state with a new one, without using the old one."""
        raise NotImplementedError


def around_fork(*, before: Callable[[], None], after_in_parent: Callable[[], None]) -> None:
    """Call two methods around each later fork by Python, as long as their object exists.

    :param before: bound method to call before the fork.
    :param after_in_parent: bound method to call in the parent afterwards.
    """
    os.register_at_fork(before=_call_weakly(before), after_in_parent=_call_weakly(after_in_parent))


def _call_weakly(method: Callable[[], None]) -> Callable[[], None]:
    weak = weakref.WeakMethod(method)

    def call() -> None:
        if (alive := weak()) is not None:
            alive()

    return call


class HasThreads(Protocol):
    """An object with threads."""

    def stop(self) -> bool:
        """Stop the threads, and return whether there were any in this process."""

    def resume(self) -> None:
        """Start the threads again in the process that stopped them."""


_with_threads: weakref.WeakSet[HasThreads] = weakref.WeakSet()
# Those whose threads were stopped for a fork that is not over yet.
_stopped: list[HasThreads] = []


def stop_before_fork(owner: HasThreads) -> None:
    """Stop an object's threads during each later fork by Python, as long as the object exists.

    A child would lack them, and could inherit a lock that one of them holds.
    """
    _with_threads.add(owner)


def stop_threads() -> None:
    """Stop the threads of all objects that were given to :func:`stop_before_fork`."""
    _stopped.extend(owner for owner in list(_with_threads) if owner.stop())


def _resume_threads() -> None:
    while _stopped:
        with suppress(RuntimeError):  # the system is out of threads; the next use tries again
            _stopped.pop().resume()


os.register_at_fork(
    before=stop_threads, after_in_parent=_resume_threads, after_in_child=_stopped.clear
)
