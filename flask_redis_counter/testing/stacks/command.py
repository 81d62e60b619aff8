"""Commands that tests run, and their results."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import StackError, StackTimeoutError

#: pytest leaves this module's frames out of tracebacks, and shows the line of the test.
__tracebackhide__ = True


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The result of a command.

    :ivar exit_code: the exit code.
    :ivar output: its standard output.
    :ivar errors: its standard error.
    """

    exit_code: int
    output: str
    errors: str


def run_command(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    timeout: float,
    folder: Path | None = None,
) -> CommandResult:
    """Run a command, and return its result.

    :param environment: variables in addition to this process's environment.
    :param timeout: maximum duration in seconds.
    :param folder: the working directory; None: the current one.
    :raises StackError: the command cannot be started.
    :raises StackTimeoutError: the command took too long.
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


def command_error(command: Sequence[str], result: CommandResult) -> StackError:
    """Return the error for a command that failed."""
    return StackError(
        f"{' '.join(command)} ended with {result.exit_code}:\n{result.output}{result.errors}"
    )
