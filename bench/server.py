"""Web servers under test: their processes, startup times and memory."""

from __future__ import annotations

import http.client
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import redis

from flask_redis_counter.testing import wait_until
from flask_redis_counter.testing.stacks.process import Process, free_port

from .contestants import Contestant

#: Number of starts for measuring the startup time.
STARTS = 3


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
    def address(self) -> str:
        """URL without a path."""
        return f"http://127.0.0.1:{self.port}"

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
        return [_memory(worker) for worker in self._workers()]

    def worker_cpu(self) -> float:
        """Return the CPU seconds of all workers since they started."""
        return sum(_cpu_seconds(worker) for worker in self._workers())

    def _workers(self) -> list[int]:
        pid = self._process.pid
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]

    def _responds(self) -> bool:
        if not self._process.is_running():
            raise SystemExit(f"{self.contestant.name} ended; its log:\n{self._process.log()}")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", self.contestant.path)
            return connection.getresponse().status == http.HTTPStatus.OK
        finally:
            connection.close()


@contextmanager
def running_servers(
    contestants: Sequence[Contestant], store: redis.Redis
) -> Iterator[list[Server]]:
    """Run the servers of all contestants, with their logs in a temporary folder."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        yield [
            stack.enter_context(Server(contestant, _environment(store), folder))
            for contestant in contestants
        ]


def measure_startups(contestant: Contestant, store: redis.Redis) -> list[float]:
    """Start and stop a server; return the seconds from each start to the first response."""
    startups = []
    for _ in range(STARTS):
        with running_servers([contestant], store) as [server]:
            startups.append(server.startup)
    return startups


def own_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return settings, and empty values for related variables of this shell."""
    unset = {
        name: ""
        for name in os.environ
        if name.startswith(("REDIS_", "COUNTER_", "FLASK_", "GUNICORN_"))
    }
    return {**unset, **settings}


def _environment(store: redis.Redis) -> dict[str, str]:
    address = store.connection_pool.connection_kwargs
    return own_environment({"REDIS_HOST": address["host"], "REDIS_PORT": str(address["port"])})


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime


def _memory(pid: int) -> dict[str, float]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kib = {name: int(rest.split()[0]) for name, rest in (line.split(":") for line in lines)}
    return {"rss": kib["Rss"] * 1024 / 1e6, "pss": kib["Pss"] * 1024 / 1e6}
