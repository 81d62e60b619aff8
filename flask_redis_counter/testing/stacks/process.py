"""Operating-system processes, each in its own process group, with its output in a file."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from .errors import StackError

#: Seconds within which a process must end after SIGTERM.
STOP_TIMEOUT = 10.0

_PORTS = range(10_000, 32_768)


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
        """Start the process, unless it is already running."""
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
        """Return whether the process is running, frozen or not."""
        return self._popen is not None and self._popen.poll() is None

    def is_frozen(self) -> bool:
        """Return whether the process is stopped by SIGSTOP."""
        stat = Path(f"/proc/{self.pid}/stat")
        return self.is_running() and stat.read_text().rpartition(")")[2].split()[0] == "T"

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while the process is running."""
        return None if self._popen is None else self._popen.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole process group."""
        if self._popen is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._popen.pid, number)

    @property
    def pid(self) -> int:
        """The id of the process that was started last.

        :raises StackError: the process was never started.
        """
        return self._require_popen().pid

    def wait(self) -> int:
        """Wait for the end of the process and return its exit code.

        :raises StackError: the process did not end in time, and was killed.
        """
        try:
            return self._require_popen().wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise StackError(
                f"{self._command[0]} did not end within {STOP_TIMEOUT:g} s; its log: {self.log()}"
            ) from None

    def stop(self) -> int:
        """Stop the process with SIGTERM and return its exit code.

        :raises StackError: the process did not end in time, and was killed.
        """
        self._require_popen().send_signal(signal.SIGTERM)
        return self.wait()

    def _require_popen(self) -> subprocess.Popen[bytes]:
        if self._popen is None:
            raise StackError(f"{self._command[0]} was never started")
        return self._popen

    def kill(self) -> None:
        """Kill the whole process group and wait for the end of the process."""
        self.signal(signal.SIGKILL)
        if self._popen is not None:
            self._popen.wait()

    def log(self) -> str:
        """Return the output since the first start."""
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""


def free_port() -> int:
    """Return a port of 127.0.0.1 that is currently not in use.

    It is below the range from which Linux takes the ports of clients: one of them could take it
    before the server that it is meant for.
    """
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
