"""Stacks shared by several processes: the first user starts a stack, the last removes it."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from .compose import ComposeStack
from .errors import StackError

#: pytest leaves this module's frames out of tracebacks, and shows the line of the test.
__tracebackhide__ = True

_FILE_NAME = "stacks.json"

#: Creates the stack object of a project, without starting the stack.
MakeStack = Callable[[str], ComposeStack]


class SharedStacks:
    """The stacks that processes with the same folder share; a process holds one at a time.

    Processes share a stack if their Compose files resolve to the same project with their folder
    and environment.

    :param folder: a folder that these processes have in common, and no other run has.
    :param keep: whether stacks stay up after the last process has released them.
    """

    def __init__(self, folder: Path, *, keep: bool = False) -> None:
        self._folder = folder
        self._keep = keep
        self._fingerprint: str | None = None
        self._project = ""
        self._held = ExitStack()

    def acquire(self, make: MakeStack, project: str) -> ComposeStack:
        """Return a stack that is up; release the stack held before, if it is another one.

        :param project: the project's name, if this process starts the stack and the name is free.
        :raises StackError: the stack does not come up, or the previous one leaves something
            behind.
        """
        fingerprint = make(project).fingerprint()
        if fingerprint != self._fingerprint:
            self.release()
            self._project = self._held.enter_context(
                _hold(make, project, fingerprint, self._folder, keep=self._keep)
            )
            self._fingerprint = fingerprint
        return make(self._project)

    def release(self) -> None:
        """Release the stack that this process holds; the last process removes it.

        :raises StackError: the stack leaves something behind.
        """
        self._fingerprint = None
        self._held.close()


def remove_abandoned(folder: Path) -> list[str]:
    """Remove the stacks of processes that crashed, or were killed before they removed them.

    :param folder: the folder that these processes had in common; they have ended.
    :return: the names of the projects.
    :raises StackError: a stack cannot be removed.
    """
    removed = []
    for file in [*folder.glob(_FILE_NAME), *folder.glob(f"*/{_FILE_NAME}")]:
        with _locked_records(file.parent) as records:
            for record in records.values():
                if record["up"]:
                    stack = ComposeStack([], record["project"])
                    stack.command = record["up"]
                    _remove(stack)
                    record["up"] = None
                    removed.append(stack.project)
    return removed


@contextmanager
def _hold(
    make: MakeStack, project: str, fingerprint: str, folder: Path, *, keep: bool
) -> Iterator[str]:
    """Start a stack unless it is up, yield its project's name, and remove it after the last user.

    The record of a project that is up or kept has as ``up`` the command line that removes it.
    """
    with _locked_records(folder) as records:
        record = records.setdefault(fingerprint, {"users": 0, "up": None})
        if not record["users"]:
            if not record["up"]:
                record["project"] = _find_free_name(project, records)
            stack = make(record["project"])
            record["up"] = stack.command
            try:
                stack.up()
            except BaseException as error:
                try:
                    _remove(stack)
                    record["up"] = None
                except StackError as remove_error:
                    error.add_note(f"the incomplete stack could not be removed: {remove_error}")
                raise
        record["users"] += 1
    try:
        yield record["project"]
    finally:
        with _locked_records(folder) as records:
            record = records[fingerprint]
            record["users"] -= 1
            if not record["users"] and not keep:
                _remove(make(record["project"]))
                record["up"] = None


def _find_free_name(project: str, records: dict[str, dict[str, Any]]) -> str:
    """Return the name, with a number if another stack has that name: Compose would replace it."""
    taken = {record["project"] for record in records.values() if record["up"]}
    names = (project if n == 1 else f"{project}-{n}" for n in count(1))
    return next(name for name in names if name not in taken)


@contextmanager
def _locked_records(folder: Path) -> Iterator[dict[str, dict[str, Any]]]:
    """Load the records of all stacks by fingerprint, and save them; one process at a time."""
    with (folder / f"{_FILE_NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file = folder / _FILE_NAME
        records = json.loads(file.read_text()) if file.exists() else {}
        try:
            yield records
        finally:
            file.write_text(json.dumps(records))


def _remove(stack: ComposeStack) -> None:
    """Remove a stack, and check that nothing is left."""
    stack.down(volumes=True)
    if left := stack.leftovers():
        raise StackError(f"the stack {stack.project} left {', '.join(left)} behind")
