"""A web server under test: its process, its startup time and its memory."""

from __future__ import annotations

import http.client
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from flask_redis_counter.testing import wait_until
from flask_redis_counter.testing.stacks.process import Process, free_port

from .contestants import Contestant


class Server:
    """The processes of a contestant, as a context manager.

    :param environment: variables in addition to this process's environment, including the
        store's address.
    :param folder: folder for the log.
    :ivar startup: seconds from the start of the process to the first response.
    """

    def __init__(
        self, contestant: Contestant, environment: Mapping[str, str], folder: Path
    ) -> None:
        self.contestant = contestant
        self.port = free_port()
        self.startup = 0.0
        self._process = Process(
            contestant.command(self.port),
            log=folder / f"{self.port}.log",
            environment=environment,
        )

    @property
    def url(self) -> str:
        """URL that counts a hit."""
        return f"http://127.0.0.1:{self.port}{self.contestant.path}"

    def __enter__(self) -> Self:
        began = time.monotonic()
        self._process.start()
        try:
            wait_until(self._responds, what=f"a response of {self.contestant.name}", pause=0.005)
        except BaseException:
            self.__exit__()
            raise
        self.startup = time.monotonic() - began
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.is_running():
            self._process.stop()
        self._process.signal(signal.SIGKILL)  # workers that are still running

    def worker_memory(self) -> list[dict[str, float]]:
        """Return each worker's resident memory in MB: ``rss``, and ``pss``, its fair share."""
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [_memory(int(child)) for child in children]

    def _responds(self) -> bool:
        if not self._process.is_running():
            raise SystemExit(f"{self.contestant.name} ended; its log:\n{self._process.log()}")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", self.contestant.path)
            return connection.getresponse().status == http.HTTPStatus.OK
        finally:
            connection.close()


def _memory(pid: int) -> dict[str, float]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kib = {name: int(rest.split()[0]) for name, rest in (line.split(":") for line in lines)}
    return {"rss": kib["Rss"] * 1024 / 1e6, "pss": kib["Pss"] * 1024 / 1e6}
