"""The plugin's part of pytest's reports: logs of stacks, histories of faults, and notes."""

from __future__ import annotations

import pytest

from .faults.faults import Faults
from .faults.nemesis import Nemesis
from .stacks.compose import ComposeStack
from .stacks.errors import StackError
from .stacks.stack import Stack

#: The stacks that a test used, each with the time from which its logs are reported.
_STACKS = pytest.StashKey[dict[Stack, float]]()

#: The faults and the nemeses that a test created.
_FAULTS = pytest.StashKey[list[Faults]]()
_NEMESES = pytest.StashKey[list[Nemesis]]()

#: Lines for the end of the run.
_NOTES = pytest.StashKey[list[str]]()


def report_logs(item: pytest.Item, stack: Stack) -> None:
    """Add the lines that a stack logs from now on to the report of a test."""
    item.stash.setdefault(_STACKS, {})[stack] = stack.mark()


def report_faults(item: pytest.Item, faults: Faults) -> None:
    """Add the history of faults to the report of a test."""
    item.stash.setdefault(_FAULTS, []).append(faults)


def report_nemesis(item: pytest.Item, nemesis: Nemesis) -> None:
    """Add a nemesis with its seed to the report of a test."""
    item.stash.setdefault(_NEMESES, []).append(nemesis)


def add_sections(item: pytest.Item, report: pytest.TestReport) -> None:
    """Add a section for each nemesis, each history of faults and each log to a test's report."""
    for nemesis in item.stash.get(_NEMESES, []):
        report.sections.append(("nemesis", str(nemesis)))
    for faults in item.stash.get(_FAULTS, []):
        if faults.history:
            report.sections.append(("faults", "\n".join(map(str, faults.history))))
    for stack, began in item.stash.get(_STACKS, {}).items():
        try:
            logs = stack.final_logs or stack.logs(since=began)
        except StackError as error:
            logs = {"the stack": f"not available: {error}"}
        report.sections += [(f"log of {name}", log) for name, log in logs.items() if log]


def get_notes(config: pytest.Config) -> list[str]:
    """Return the lines for the end of the run; the list may be changed."""
    return config.stash.setdefault(_NOTES, [])


def note_kept_stack(config: pytest.Config, stack: ComposeStack) -> None:
    """Add a note on how to reach, use again and remove a stack that is kept running."""
    url = f" at {stack.url()}" if stack.endpoint else ""
    remove = [f"docker compose -p {stack.project} down --volumes"]
    if images := stack.images():
        remove.append(f"docker image rm {' '.join(images)}")
    note = (
        f"the stack {stack.project} is still running{url}: use it again with "
        f"--stack-attach={stack.project}, remove it with `{' && '.join(remove)}`"
    )
    notes = get_notes(config)
    if note not in notes:
        notes.append(note)
    if hasattr(config, "workeroutput"):
        config.workeroutput["stack-notes"] = notes


def merge_worker_notes(config: pytest.Config, worker_output: dict[str, list[str]]) -> None:
    """Add the notes of a worker of pytest-xdist."""
    notes = get_notes(config)
    notes += [note for note in worker_output.get("stack-notes", []) if note not in notes]
