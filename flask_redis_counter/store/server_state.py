"""A server's role, its history, and how much of it is on replicas and on disk: from its INFO."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Commands whose replies contain a server's role and history.
IDENTITY_PROBE = (("INFO", "server"), ("INFO", "replication"))

#: Commands whose replies :func:`parse_state` takes.
STATE_PROBE = (*IDENTITY_PROBE, ("INFO", "persistence"))


@dataclass(frozen=True, slots=True)
class ServerState:
    """State of a server.

    :ivar history: identifies the sequence of its writes: the process and its replication id. A
        restart, a promotion and a demotion change it, and each of them may lose writes. ``""``: the
        user may not run INFO.
    :ivar offset: bytes of that history so far.
    :ivar replica_offsets: bytes that each connected replica has acknowledged.
    :ivar has_append_only_file: whether it keeps an append-only file.
    :ivar is_syncing: whether it syncs or rewrites that file, or its last write to it failed.
    """

    history: str
    offset: int = 0
    replica_offsets: tuple[int, ...] = ()
    has_append_only_file: bool = False
    is_syncing: bool = False


def parse_state(replies: Sequence[Any]) -> ServerState:
    """Return the state from the replies to :data:`STATE_PROBE`; errors count as unknown."""
    info = parse_sections(replies)
    history = parse_history(info)
    if not history:
        return ServerState("")
    # A rewrite may suspend syncs (no-appendfsync-on-rewrite).
    busy = ("aof_pending_bio_fsync", "aof_rewrite_in_progress")
    return ServerState(
        history,
        int(info.get("master_repl_offset", 0)),
        tuple(replica_offsets(info)),
        info.get("aof_enabled") == "1",
        any(info.get(name, "0") != "0" for name in busy)
        or info.get("aof_last_write_status", "ok") != "ok",
    )


def parse_info(section: bytes) -> dict[str, str]:
    """Return the fields of a section of INFO."""
    lines = section.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def parse_server(info: Mapping[str, str]) -> tuple[str, str]:
    """Return a server's name and version from the section ``server``: ``Valkey``, ``8.1.0``."""
    name = info.get("server_name", "redis")
    version = info.get(f"{name}_version") or info.get("redis_version", "")
    return name.capitalize(), version


def parse_version(info: Mapping[str, str]) -> tuple[int, ...]:
    """Return the version of Redis that a server is, or that it is compatible with: ``(7, 2)``."""
    return tuple(map(int, re.findall(r"\d+", info.get("redis_version", ""))[:2]))


def parse_sections(replies: Sequence[Any]) -> dict[str, str]:
    """Return the fields of several sections of INFO, without those that are error replies."""
    info: dict[str, str] = {}
    for reply in replies:
        if isinstance(reply, bytes):
            info |= parse_info(reply)
    return info


# Fields of several servers that are added; the smallest value is the one that matters; texts of
# which the first in the alphabet (0, err) is the worse.
_SUMS = ("used_memory", "maxmemory", "connected_clients")
_MINIMA = ("uptime_in_seconds", "rdb_last_save_time")
_WORST = ("aof_enabled", "aof_last_write_status", "rdb_last_bgsave_status")
_VERSION = ("server_name", "redis_version", "valkey_version")

#: Fields that :func:`merge_sections` adds: the number of servers, and their versions if these
#: differ.
SERVERS, VERSIONS = "servers", "versions"


def merge_sections(replies: Sequence[bytes]) -> bytes:
    """Return one section of INFO for that of each of several servers.

    Fields that differ are left out, except the memory in use and its limit, which are added, states
    of the disk, of which the worst remains, the replicas of the server that has the fewest, and the
    lowest version. :data:`SERVERS` and :data:`VERSIONS` are added.
    """
    if len(replies) == 1:
        return replies[0]
    infos = [parse_info(reply) for reply in replies]
    merged = {
        name: text
        for name, text in infos[0].items()
        if all(info.get(name) == text for info in infos)
    }
    for name in infos[0].keys() & {*_SUMS, *_MINIMA, *_WORST}:
        texts = [info.get(name, "0") for info in infos]
        if name in _WORST:
            merged[name] = min(texts)
        elif name == "maxmemory" and "0" in texts:
            merged[name] = "0"  # one of them has no limit
        else:
            merged[name] = str((sum if name in _SUMS else min)(map(int, texts)))
    if policies := {info.get("maxmemory_policy", "noeviction") for info in infos} - {"noeviction"}:
        merged["maxmemory_policy"] = min(policies)
    oldest = min(infos, key=parse_version)
    merged |= {name: text for name, text in oldest.items() if name in _VERSION}
    versions = {" ".join(parse_server(info)) for info in infos}
    if len(versions) > 1:
        merged[VERSIONS] = ", ".join(sorted(versions))
    merged[SERVERS] = str(len(replies))
    fewest = min(infos, key=lambda info: len(replica_offsets(info)))
    merged |= {name: text for name, text in fewest.items() if _is_replica(name)}
    return "".join(f"{name}:{text}\r\n" for name, text in merged.items()).encode()


def parse_history(info: Mapping[str, str]) -> str:
    """Return the history of a server from its sections ``server`` and ``replication``.

    A server that was a replica before names its former replication id as well. One that was never
    a replica takes a new id when its first replica connects, and loses nothing by that.
    """
    run_id, replication_id = info.get("run_id"), info.get("master_replid")
    if not (run_id and replication_id):
        return ""
    was_replica = info.get("master_replid2", replication_id).strip("0")
    return f"{run_id}:{replication_id}" if was_replica else run_id


def is_cluster_node(info: Mapping[str, str]) -> bool:
    """Return whether a server is in cluster mode, from its section ``server``."""
    return "cluster" in (info.get("redis_mode"), info.get("server_mode"))


def replica_offsets(info: Mapping[str, str]) -> list[int]:
    """Return the bytes that each replica has acknowledged, from the section ``replication``.

    A replica that still gets its first copy of the data is left out. One that connects again counts
    once, with the lower number: the server may not have noticed yet that its former connection is
    broken.
    """
    offsets: dict[tuple[str | None, str | None], int] = {}
    for name, text in info.items():
        if _is_replica(name):
            fields = dict(field.partition("=")[::2] for field in text.split(","))
            address, offset = (fields.get("ip"), fields.get("port")), fields.get("offset", "")
            if fields.get("state") == "online" and offset.isdigit():
                offsets[address] = min(int(offset), offsets.get(address, int(offset)))
    return list(offsets.values())


def _is_replica(name: str) -> bool:
    return name.startswith("slave") and name[5:].isdigit()
