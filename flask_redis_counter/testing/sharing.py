"""One stack for several processes: the first starts it, the last removes it."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .compose import ComposeStack
from .stack import StackError

#: pytest shows the line of the test, and not ours.
__tracebackhide__ = True

_NAME = "stack.json"


@contextmanager
def shared(
    make: Callable[[str], ComposeStack], project: str, *, folder: Path, keep: bool = False
) -> Iterator[ComposeStack]:
    """Use a stack together with the other processes that see the same folder.

    :param make: makes the stack of a project, not yet up.
    :param project: the name for it, where this process is the first.
    :param folder: what they have in common, and no other run.
    :param keep: whether it goes on running after the last one.
    :raises StackError: it does not come up, or leaves something behind.
    """
    with _state(folder) as state:
        stack = make(state.setdefault("project", project))
        if not state.setdefault("users", 0):
            state["up"] = stack.command
            try:
                stack.up()
            except BaseException as error:
                try:
                    _remove(stack)
                    state["up"] = None
                except StackError as left:
                    error.add_note(f"and what was there of it could not be removed: {left}")
                raise
        state["users"] += 1
    try:
        yield stack
    finally:
        with _state(folder) as state:
            state["users"] -= 1
            if not state["users"] and not keep:
                _remove(stack)
                state["up"] = None


def remove_abandoned(folder: Path) -> list[str]:
    """Remove the stacks of processes that crashed, or were killed before they had done so.

    :param folder: what all these processes have in common; they have ended.
    :return: the names of the projects.
    :raises StackError: one of them cannot be removed.
    """
    removed = []
    for file in [*folder.glob(_NAME), *folder.glob(f"*/{_NAME}")]:
        with _state(file.parent) as state:
            if state.get("up"):
                stack = ComposeStack([], state["project"])
                stack.command = state["up"]
                _remove(stack)
                state["up"] = None
                removed.append(stack.project)
    return removed


@contextmanager
def _state(folder: Path) -> Iterator[dict[str, Any]]:
    """Read and write what the processes know in common, one process at a time."""
    with (folder / f"{_NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file = folder / _NAME
        state = json.loads(file.read_text()) if file.exists() else {}
        try:
            yield state
        finally:
            file.write_text(json.dumps(state))


def _remove(stack: ComposeStack) -> None:
    """Remove a stack, and make sure that nothing of it is left."""
    stack.down(volumes=True)
    if left := stack.leftovers():
        raise StackError(f"the stack {stack.project} left {', '.join(left)} behind")
