"""The slot map of a Redis Cluster, as one of its nodes sees it.

Specification: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from redis.crc import key_slot as hash_slot

from .causes import NoMasterError
from .url import Address

#: Number of hash slots of a cluster.
SLOTS = 16384


@lru_cache(maxsize=4096)
def key_slot(key: str | bytes) -> int:
    """Return the hash slot of a key, 0 to 16383."""
    return hash_slot(key if isinstance(key, bytes) else key.encode())


@dataclass(frozen=True, slots=True)
class SlotMap:
    """A node's view of its cluster.

    :ivar owners: by hash slot the address of its master; None: no master serves the slot.
    :ivar masters: the masters that serve slots.
    :ivar nodes: all nodes.
    :ivar epoch: version of the cluster's configuration; each failover increases it.
    """

    owners: list[Address | None]
    masters: tuple[Address, ...]
    nodes: tuple[Address, ...]
    epoch: int


def read_slot_map(connection: Any, address: Address) -> SlotMap:
    """Ask a node for its slot map, and close the connection.

    :param address: the node's address, for entries without a host.
    :raises RedisError: the node did not answer, or is none of a cluster.
    """
    try:
        connection.connect()
        connection.send_command("CLUSTER", "INFO")
        connection.send_command("CLUSTER", "SLOTS")
        info, slots = connection.read_response(), connection.read_response()
    finally:
        connection.disconnect()
    fields = dict(line.split(":", 1) for line in info.decode().split() if ":" in line)
    owners: list[Address | None] = [None] * SLOTS
    nodes: list[Address] = []
    masters: list[Address] = []
    for first, last, *servers in slots:
        found = [_parse_address(server, address) for server in servers]
        owners[first : last + 1] = [found[0]] * (last + 1 - first)
        masters.append(found[0])
        nodes += found
    if not masters:
        raise NoMasterError(
            f"{address[0]}:{address[1]} serves no hash slot",
            "let it join the cluster: redis-cli --cluster create, or add-node",
        )
    return SlotMap(
        owners,
        tuple(dict.fromkeys(masters)),
        tuple(dict.fromkeys(nodes)),
        int(fields.get("cluster_current_epoch", 0)),
    )


def _parse_address(server: Sequence[Any], asked: Address) -> Address:
    return resolve_host((server[0] or b"").decode(), asked), int(server[1])


def resolve_host(host: str, asked: Address) -> str:
    """Return the host that a node named; ``?`` and nothing mean the one that was asked."""
    return asked[0] if host in ("", "?") else host
