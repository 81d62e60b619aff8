"""Objects whose state belongs to one process, however that process was copied."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any


class ForkSafe:
    """Resets itself in each process that was forked with a copy of it.

    Its methods, or their callers, call :meth:`enter` before they use the state: it compares the
    process id, which is a system call.
    Python's own hooks are not enough: uWSGI forks in C, and runs none of them or the child's alone.
    """

    def __init__(self) -> None:
        self._pid = 0
        self._resets: dict[int, Any] = {}

    def enter(self) -> None:
        """Reset the state where it is another process's, or where there is none yet."""
        if self._pid != os.getpid():
            self._enter_first(os.getpid())

    def _enter_first(self, pid: int) -> None:
        # Several threads of a child may come at once. They need a lock that no thread of the
        # parent's can have held when it was copied; setdefault is atomic. It is reentrant for a
        # signal handler.
        with self._resets.setdefault(pid, threading.RLock()):
            if self._pid != pid:
                self._reset()
                self._pid = pid

    def _reset(self) -> None:
        """Make the state, without anything of the one that is there."""
        raise NotImplementedError


def around_fork(*, before: Callable[[], None], after_in_parent: Callable[[], None]) -> None:
    """Call two methods around each fork that Python makes from now on, while their object lives."""
    os.register_at_fork(before=_weakly(before), after_in_parent=_weakly(after_in_parent))


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    weak = weakref.WeakMethod(method)

    def call() -> None:
        if (alive := weak()) is not None:
            alive()

    return call
