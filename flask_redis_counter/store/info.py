"""The server's INFO: version, memory, persistence, and how it may lose acknowledged writes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from ..errors import StoreRejectedError
from .operation import Operation
from .replies import raise_for_error
from .server_state import parse_sections, parse_server


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """A server's version, memory and persistence.

    :ivar server: ``Redis``, ``Valkey`` or another.
    :ivar version: its version.
    :ivar uptime: seconds since its start.
    :ivar clients: number of connections.
    :ivar memory: bytes in use.
    :ivar memory_limit: bytes that it may use; None: no limit.
    :ivar append_only: whether it keeps an append-only file.
    :ivar append_only_ok: whether the last write to that file succeeded.
    :ivar saved: time of the last snapshot; the server's start if there is none since.
    :ivar saved_ok: whether the last snapshot succeeded.
    """

    server: str
    version: str
    uptime: int
    clients: int
    memory: int
    memory_limit: int | None
    append_only: bool
    append_only_ok: bool
    saved: datetime
    saved_ok: bool


def read_info(*sections: str) -> Operation[dict[str, str]]:
    """Read sections of INFO, and return the fields of all of them.

    :raises StoreRejectedError: the user may not run INFO.
    """
    replies = yield [("INFO", section) for section in sections]
    raise_for_error(*replies)
    return parse_sections(replies)


def store_info() -> Operation[StoreInfo]:
    """Read a server's version, memory and persistence; raises what :func:`read_info` does."""
    info = yield from read_info("server", "clients", "memory", "persistence")
    server, version = parse_server(info)
    return StoreInfo(
        server=server,
        version=version,
        uptime=int(info.get("uptime_in_seconds", 0)),
        clients=int(info.get("connected_clients", 0)),
        memory=int(info.get("used_memory", 0)),
        memory_limit=int(info.get("maxmemory", 0)) or None,
        append_only=info.get("aof_enabled") == "1",
        append_only_ok=info.get("aof_last_write_status", "ok") == "ok",
        saved=datetime.fromtimestamp(int(info.get("rdb_last_save_time", 0)), UTC),
        saved_ok=info.get("rdb_last_bgsave_status", "ok") == "ok",
    )


def durability_warnings() -> Operation[dict[str, str]]:
    """Return a warning for each server setting that may lose acknowledged hits."""
    # Managed servers often allow INFO, but not CONFIG.
    *sections, config = yield [
        ("INFO", "memory"),
        ("INFO", "persistence"),
        ("CONFIG GET", "appendfsync"),
    ]
    info = parse_sections(sections)
    found = {}
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        found["maxmemory-policy"] = (
            f"maxmemory-policy is {policy}: when its memory is full, the store deletes counters, "
            "or records without which a repeated hit counts twice; with noeviction it rejects hits"
        )
    if info.get("aof_enabled") == "0":
        found["appendonly"] = (
            "appendonly is off: when the store dies, all hits since its last snapshot are lost"
        )
    elif isinstance(config, list) and config[1:] in ([b"everysec"], [b"no"]):
        found["appendfsync"] = (
            f"appendfsync is {config[1].decode()}: when the store dies while its disk is slow, or "
            "the power fails, it loses the hits of the last seconds; processes that still run send "
            "them again; with always, it loses none"
        )
    elif isinstance(config, StoreRejectedError):
        found["config"] = (
            "appendfsync cannot be read: unless it is always, the store loses the hits of the last "
            "seconds when the power fails; processes that still run send them again"
        )
    return found
