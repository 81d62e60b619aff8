"""Stacks for several processes: the first that needs one starts it, the last removes it."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from .compose import ComposeStack
from .stack import StackError

#: pytest shows the line of the test, and not ours.
__tracebackhide__ = True

_NAME = "stacks.json"

#: Makes the stack of a project, not yet up.
MakeStack = Callable[[str], ComposeStack]


class SharedStacks:
    """The stacks that the processes with one folder share; this process uses one at a time.

    A stack is shared by those who ask for the same Compose project, as its files, its folder and
    the environment make it.

    :param folder: what the processes have in common, and no other run.
    :param keep: whether stacks go on running after the last process.
    """

    def __init__(self, folder: Path, *, keep: bool = False) -> None:
        self._folder = folder
        self._keep = keep
        self._fingerprint: str | None = None
        self._project = ""
        self._leaving = ExitStack()

    def use(self, make: MakeStack, project: str) -> ComposeStack:
        """Return a stack that is up; the one used before is left, if it is another.

        :param project: the name for it, where this process is the first and the name is free.
        :raises StackError: it does not come up, or the one before leaves something behind.
        """
        fingerprint = make(project).fingerprint()
        if fingerprint != self._fingerprint:
            self.leave()
            self._project = self._leaving.enter_context(
                _started(make, project, fingerprint, self._folder, keep=self._keep)
            )
            self._fingerprint = fingerprint
        return make(self._project)

    def leave(self) -> None:
        """Use none any more.

        :raises StackError: the last one leaves something behind.
        """
        self._fingerprint = None
        self._leaving.close()


def remove_abandoned(folder: Path) -> list[str]:
    """Remove the stacks of processes that crashed, or were killed before they had done so.

    :param folder: what all these processes have in common; they have ended.
    :return: the names of the projects.
    :raises StackError: one of them cannot be removed.
    """
    removed = []
    for file in [*folder.glob(_NAME), *folder.glob(f"*/{_NAME}")]:
        with _known(file.parent) as stacks:
            for known in stacks.values():
                if known["up"]:
                    stack = ComposeStack([], known["project"])
                    stack.command = known["up"]
                    _remove(stack)
                    known["up"] = None
                    removed.append(stack.project)
    return removed


@contextmanager
def _started(
    make: MakeStack, project: str, fingerprint: str, folder: Path, *, keep: bool
) -> Iterator[str]:
    """Start a stack unless it is up, yield its project's name, and remove it after the last user.

    A project that is up, or was kept, has the command that removes it as ``up``.
    """
    with _known(folder) as stacks:
        known = stacks.setdefault(fingerprint, {"users": 0, "up": None})
        if not known["users"]:
            if not known["up"]:
                known["project"] = _free_name(project, stacks)
            stack = make(known["project"])
            known["up"] = stack.command
            try:
                stack.up()
            except BaseException as error:
                try:
                    _remove(stack)
                    known["up"] = None
                except StackError as left:
                    error.add_note(f"and what was there of it could not be removed: {left}")
                raise
        known["users"] += 1
    try:
        yield known["project"]
    finally:
        with _known(folder) as stacks:
            known = stacks[fingerprint]
            known["users"] -= 1
            if not known["users"] and not keep:
                _remove(make(known["project"]))
                known["up"] = None


def _free_name(project: str, stacks: dict[str, dict[str, Any]]) -> str:
    """Return the name, with a number where another stack has it: one would replace the other."""
    taken = {known["project"] for known in stacks.values() if known["up"]}
    names = (project if n == 1 else f"{project}-{n}" for n in count(1))
    return next(name for name in names if name not in taken)


@contextmanager
def _known(folder: Path) -> Iterator[dict[str, dict[str, Any]]]:
    """Read and write what the processes know of each stack, one process at a time."""
    with (folder / f"{_NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file = folder / _NAME
        stacks = json.loads(file.read_text()) if file.exists() else {}
        try:
            yield stacks
        finally:
            file.write_text(json.dumps(stacks))


def _remove(stack: ComposeStack) -> None:
    """Remove a stack, and make sure that nothing of it is left."""
    stack.down(volumes=True)
    if left := stack.leftovers():
        raise StackError(f"the stack {stack.project} left {', '.join(left)} behind")
