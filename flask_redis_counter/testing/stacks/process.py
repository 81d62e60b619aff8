"""Operating-system processes, each in its own process group, with its output in a file."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from .errors import StackError

#: Timeout in seconds until a process must have ended after SIGTERM.
STOP_TIMEOUT = 10.0


class Process:
    """A program in its own process group, with its output in a file.

    :param command: the program and its arguments.
    :param log: the file for its output.
    :param environment: variables in addition to this process's environment.
    """

    def __init__(
        self, command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._command = command
        self._environment = {**os.environ, **(environment or {})}
        self._log = log
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.is_running():
            return
        with self._log.open("ab") as output:
            self._popen = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def is_running(self) -> bool:
        """Return whether it runs, frozen or not."""
        return self._popen is not None and self._popen.poll() is None

    def is_frozen(self) -> bool:
        """Return whether it is stopped by SIGSTOP."""
        stat = Path(f"/proc/{self.pid}/stat")
        return self.is_running() and stat.read_text().rpartition(")")[2].split()[0] == "T"

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return None if self._popen is None else self._popen.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group."""
        if self._popen is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._popen.pid, number)

    @property
    def pid(self) -> int:
        """The process id of the last start.

        :raises StackError: it was never started.
        """
        return self._require_popen().pid

    def wait(self) -> int:
        """Wait for its end and return its exit code.

        :raises StackError: it did not end in time; it was killed.
        """
        try:
            return self._require_popen().wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise StackError(
                f"{self._command[0]} did not end within {STOP_TIMEOUT:g} s; its log: {self.log()}"
            ) from None

    def stop(self) -> int:
        """Stop it with SIGTERM and return its exit code.

        :raises StackError: it did not end in time; it was killed.
        """
        self._require_popen().send_signal(signal.SIGTERM)
        return self.wait()

    def _require_popen(self) -> subprocess.Popen[bytes]:
        if self._popen is None:
            raise StackError(f"{self._command[0]} was never started")
        return self._popen

    def kill(self) -> None:
        """Kill the whole group and wait for the end of the process."""
        self.signal(signal.SIGKILL)
        if self._popen is not None:
            self._popen.wait()

    def log(self) -> str:
        """Return its output since its first start."""
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""


def free_port() -> int:
    """Return a port of 127.0.0.1 that is not in use now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
