"""Real processes, each in a group of its own, with its output in a file."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from .stack import StackError

#: Seconds that a process may take to end after SIGTERM.
STOP_TIMEOUT = 10.0


class Process:
    """One program in a process group of its own, with its output in a file."""

    def __init__(
        self, command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._command = command
        self._environment = {**os.environ, **(environment or {})}
        self._log = log
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.runs():
            return
        with self._log.open("ab") as output:
            self._running = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def runs(self) -> bool:
        """Whether it runs, frozen or not."""
        return self._running is not None and self._running.poll() is None

    def frozen(self) -> bool:
        """Whether it is stopped by a signal, and may go on."""
        stat = Path(f"/proc/{self.pid}/stat")
        return self.runs() and stat.read_text().rpartition(")")[2].split()[0] == "T"

    @property
    def exit_code(self) -> int | None:
        """What it ended with, below 0 for a signal; None while it runs."""
        return None if self._running is None else self._running.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group."""
        if self._running is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._running.pid, number)

    @property
    def pid(self) -> int:
        """The process id of the last start.

        :raises StackError: it was never started.
        """
        return self._started().pid

    def wait(self) -> int:
        """Wait for its end and return its exit code.

        :raises StackError: it did not end in time; it was killed.
        """
        try:
            return self._started().wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise StackError(
                f"{self._command[0]} did not end within {STOP_TIMEOUT:g} s; its log: {self.log()}"
            ) from None

    def stop(self) -> int:
        """End it the polite way and return its exit code.

        :raises StackError: it did not end in time; it was killed.
        """
        self._started().send_signal(signal.SIGTERM)
        return self.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._running is None:
            raise StackError(f"{self._command[0]} was never started")
        return self._running

    def kill(self) -> None:
        """Kill the whole group and wait for its end."""
        self.signal(signal.SIGKILL)
        if self._running is not None:
            self._running.wait()

    def log(self) -> str:
        """Return what it printed since its first start."""
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
