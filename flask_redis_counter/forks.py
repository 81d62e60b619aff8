"""What a fork asks of objects with locks, threads and files."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable


def forget_in_child(method: Callable[[], None]) -> None:
    """Call a method in every child that is forked from now on, while its object lives.

    Not left to a look at the process id at the next use: several threads of the child could
    take that look at once.
    """
    os.register_at_fork(after_in_child=_weakly(method))


def around_fork(*, before: Callable[[], None], after: Callable[[], None]) -> None:
    """Call one method before every fork from now on, and the other after it, in both processes."""
    after = _weakly(after)
    os.register_at_fork(before=_weakly(before), after_in_parent=after, after_in_child=after)


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    weak = weakref.WeakMethod(method)

    def call() -> None:
        if (alive := weak()) is not None:
            alive()

    return call
