"""A master with its replicas and Sentinels, as processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import redis

from flask_redis_counter.testing import RedisServerProcess, wait_until

SERVICE = "counters"

# Milliseconds after which a Sentinel takes a silent server for dead.
DOWN_AFTER = 500


class SentinelProcess(RedisServerProcess):
    """A Sentinel. Its program is that of a server."""

    def __init__(self, folder: Path, binary: str | None, lines: list[str]) -> None:
        super().__init__(folder, binary=binary)
        config = folder / "sentinel.conf"
        config.write_text("\n".join([f"port {self.port}", f"dir {folder}", *lines]) + "\n")
        self._command = [self._command[0], str(config), "--sentinel"]

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"


class SentinelGroup:
    """One master, its replicas, and Sentinels that fail over after half a second.

    :param start: starts a server with options.
    :param folder: folder of the Sentinels.
    :ivar servers: the servers; the first one was the first master.
    """

    def __init__(
        self,
        start: Callable[..., RedisServerProcess],
        folder: Path,
        *,
        replicas: int = 2,
        sentinels: int = 3,
        lines: tuple[str, ...] = (),
        options: tuple[str, ...] = (),
    ) -> None:
        options = ("--repl-diskless-sync-delay", "0", *options)
        first = start(*options)
        of_first = ("--replicaof", f"127.0.0.1 {first.port}")
        self.servers = [first, *(start(*options, *of_first) for _ in range(replicas))]
        self._clients = {it.port: redis.Redis(port=it.port) for it in self.servers}
        wait_until(lambda: self._count_replicas() == replicas, what="replicas in step")
        monitor = [
            f"sentinel monitor {SERVICE} 127.0.0.1 {first.port} {sentinels // 2 + 1}",
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER}",
            f"sentinel failover-timeout {SERVICE} 6000",
            *lines,
        ]
        self.sentinels = []
        for number in range(sentinels):
            place = folder / f"sentinel{number}"
            place.mkdir()
            sentinel = SentinelProcess(place, first._command[0], monitor)
            sentinel.start()
            self.sentinels.append(sentinel)
        self.url = f"redis+sentinel://{','.join(it.address for it in self.sentinels)}/{SERVICE}/0"
        wait_until(self._know_each_other, what="Sentinels that know each other and all replicas")

    def client(self, server: RedisServerProcess) -> redis.Redis:
        """Return a plain client of a server."""
        return self._clients[server.port]

    def ask(self, sentinel: SentinelProcess) -> redis.Redis:
        """Return a plain client of a Sentinel."""
        return redis.Redis(port=sentinel.port)

    def named_master(self) -> RedisServerProcess:
        """Return the server that a majority of the running Sentinels names."""
        ports = []
        for sentinel in self.sentinels:
            if sentinel.is_running() and not sentinel.is_frozen():
                ports.append(self.ask(sentinel).sentinel_get_master_addr_by_name(SERVICE)[1])
        port = max(ports, key=ports.count)
        return next(it for it in self.servers if it.port == port)

    def value(self, name: str = "visits") -> int:
        """Return the value of a counter on the named master."""
        return int(self.client(self.named_master()).get(f"counter:{{{name}}}") or 0)

    def fail_over(self) -> None:
        """Switch the roles by command, and wait until the Sentinels agree."""
        old = self.named_master()
        wait_until(self._starts_failover, timeout=20, what="the end of the last failover")
        self.wait_for_switch(old)

    def wait_for_switch(self, old: RedisServerProcess) -> None:
        """Wait until the Sentinels name another master than the old one."""
        wait_until(lambda: self.named_master() is not old, timeout=20, what="another master")

    def close(self) -> None:
        """Stop the Sentinels; the caller stops the servers."""
        for sentinel in self.sentinels:
            sentinel.kill()
        for client in self._clients.values():
            client.close()

    def _starts_failover(self) -> bool:
        try:
            self.ask(self.sentinels[0]).execute_command("SENTINEL", "FAILOVER", SERVICE)
        except redis.ResponseError:  # INPROG, or no replica that can be promoted yet
            return False
        return True

    def _count_replicas(self) -> int:
        replicas = self._clients[self.servers[0].port].info("replication")
        return sum(
            1
            for name, it in replicas.items()
            if name.startswith("slave") and it["state"] == "online"
        )

    def _know_each_other(self) -> bool:
        for sentinel in self.sentinels:
            state = self.ask(sentinel).sentinel_master(SERVICE)
            others = state["num-other-sentinels"], state["num-slaves"]
            if others != (len(self.sentinels) - 1, len(self.servers) - 1):
                return False
        return True
