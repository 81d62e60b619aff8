"""Commands that tests run, and how they ended."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .stack import CommandResult, StackError, StackTimeoutError

#: pytest shows the line of the test, and not ours.
__tracebackhide__ = True


def run_command(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    timeout: float,
    folder: Path | None = None,
) -> CommandResult:
    """Run a command, and return how it ended.

    :param environment: what it sees besides our own environment.
    :param timeout: seconds that it may take.
    :param folder: where it runs; None: here.
    :raises StackError: it cannot be run.
    :raises StackTimeoutError: it took too long.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=folder,
            env={**os.environ, **environment},
        )
    except subprocess.TimeoutExpired as error:
        raise StackTimeoutError(f"{' '.join(command)}: {error}") from error
    except OSError as error:
        raise StackError(f"{' '.join(command)}: {error}") from error
    return CommandResult(done.returncode, done.stdout, done.stderr)


def command_error(command: Sequence[str], done: CommandResult) -> StackError:
    """Return the error that a command's end is."""
    return StackError(
        f"{' '.join(command)} ended with {done.exit_code}:\n{done.output}{done.errors}"
    )
