"""Checks of the server's state: its version, role, clock, memory, disk and replicas."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ..config.config import Config
from ..counting.safety import UNKNOWN_SAFE_AFTER
from ..errors import StoreError
from ..series import now
from ..store.cluster_pool import StorePool
from ..store.info import durability_warnings, read_info
from ..store.operation import Operation, gather, run
from ..store.server_state import (
    SERVERS,
    VERSIONS,
    parse_server,
    parse_version,
    replica_offsets,
)
from ..validation import required_replicas
from .result import Diagnostic

#: Oldest Redis that supports all commands of the scripts; all versions of Valkey do.
MIN_REDIS_VERSION = (6, 2)

#: Seconds by which the clocks of the store and of this machine may differ.
MAX_CLOCK_DRIFT = 2.0

_INFO_SECTIONS = ("server", "memory", "persistence", "replication", "keyspace")

# Key in the result of _read_info: the seconds by which the store's clock is ahead.
_CLOCK_DRIFT = "clock_drift"

#: Subject and remedy of each durability warning, by the server's setting.
_CONFIG = "on the server: CONFIG SET {0}, and the same in its configuration file"
DURABILITY: Mapping[str, tuple[str, str]] = {
    "maxmemory-policy": ("eviction", _CONFIG.format("maxmemory-policy noeviction")),
    "appendonly": ("persistence", _CONFIG.format("appendonly yes, CONFIG SET appendfsync always")),
    "appendfsync": ("persistence", _CONFIG.format("appendfsync always")),
    "config": ("persistence", "let this user run CONFIG GET, or make sure appendfsync is always"),
}


def check_state(config: Config, pool: StorePool) -> Iterator[Diagnostic]:
    """Read the server's state and its settings, and yield the results of all checks of them."""
    try:
        info = run(_read_info(), pool.read)
        warnings = run(durability_warnings(), pool.read)
    except StoreError as error:
        remedy = "let this user run INFO, so that doctor can check the store"
        yield Diagnostic("warning", "store", f"its state cannot be read: {error}", remedy)
    else:
        for check in _STORE_CHECKS:
            yield from check(config, info)
        yield from _check_durability(info, warnings)


def _read_info() -> Operation[dict[str, str]]:
    """Read the server's INFO, and by how much its clock is ahead of this machine's."""
    info, drift = yield from gather(read_info(*_INFO_SECTIONS), _read_clock_drift())
    if isinstance(info, StoreError):
        raise info
    fields: dict[str, str] = info
    if drift is not None:
        fields[_CLOCK_DRIFT] = str(drift)
    return fields


def _read_clock_drift() -> Operation[float | None]:
    (clock,) = yield [("TIME",)]
    return int(clock[0]) + int(clock[1]) / 1e6 - now() if isinstance(clock, list) else None


def _check_version(_: Config, info: Mapping[str, str]) -> Iterator[Diagnostic]:
    message = " ".join(parse_server(info))
    if parse_version(info) >= MIN_REDIS_VERSION:
        if VERSIONS in info:
            message = f"the masters have different versions: {info[VERSIONS]}"
            yield Diagnostic("warning", "version", message, "bring all nodes to one version")
        else:
            yield Diagnostic("ok", "version", message)
    else:
        remedy = "upgrade to Redis 6.2 or later, or to Valkey"
        yield Diagnostic("failure", "version", message, remedy)


def _check_role(config: Config, info: Mapping[str, str]) -> Iterator[Diagnostic]:
    if info.get("role") == "slave":
        address = f"{info.get('master_host')}:{info.get('master_port')}"
        message = f"a replica of {address}, which takes no hits"
        yield Diagnostic("failure", "role", message, "set REDIS_URL to the primary")
        return
    replicas = len(replica_offsets(info))
    needed = required_replicas(config.durability)
    masters = int(info.get(SERVERS, 1))
    message = f"a primary; replicas: {replicas}"
    if masters > 1:
        message = f"a cluster of {masters} primaries; replicas of each: {replicas} or more"
    if replicas < needed:
        message += f", but COUNTER_DURABILITY={config.durability} needs {needed}"
        more = "a replica" if needed == 1 else f"{needed - replicas} more"
        remedy = f"connect {more}, or use another COUNTER_DURABILITY"
        yield Diagnostic("failure", "role", message, remedy)
    else:
        yield Diagnostic("ok", "role", message)


def _check_clock(_: Config, info: Mapping[str, str]) -> Iterator[Diagnostic]:
    if _CLOCK_DRIFT not in info:
        return
    drift = float(info[_CLOCK_DRIFT])
    if abs(drift) <= MAX_CLOCK_DRIFT:
        message = f"the store's clock is within {MAX_CLOCK_DRIFT:g} s of this machine's"
        yield Diagnostic("ok", "clock", message)
    else:
        direction = "ahead of" if drift > 0 else "behind"
        message = f"the store's clock is {abs(drift):.1f} s {direction} this machine's"
        remedy = (
            "synchronise both clocks (NTP): this machine's clock decides the day of a hit, and the "
            "store's clock when the day's data expires"
        )
        yield Diagnostic("warning", "clock", message, remedy)


def _check_memory(config: Config, info: Mapping[str, str]) -> Iterator[Diagnostic]:
    used, limit = (int(info.get(name, 0)) for name in ("used_memory", "maxmemory"))
    if not limit:
        message = f"{used / 1e6:.1f} MB, without a limit, also for idempotency keys"
        yield Diagnostic("ok", "memory", message)
    elif used * 100 < limit * (config.limits.idempotency_memory or 100):
        yield Diagnostic("ok", "memory", f"{used / 1e6:.1f} of {limit / 1e6:.1f} MB")
    else:
        expiring = sum(map(int, re.findall(r"expires=(\d+)", " ".join(info.values()))))
        message = (
            f"{used / 1e6:.1f} of {limit / 1e6:.1f} MB: hits with a new idempotency key are "
            f"rejected, and all hits when memory is full; {expiring} keys expire by themselves"
        )
        remedy = (
            "raise maxmemory, or wait: an idempotency key is kept for a day after its last use, "
            "even if its counter is deleted; COUNTER_RATE_LIMIT limits the keys per address"
        )
        yield Diagnostic("warning", "memory", message, remedy)


def _check_disk(_: Config, info: Mapping[str, str]) -> Iterator[Diagnostic]:
    writes = {
        "to the append-only file": "aof_last_write_status",
        "of a snapshot": "rdb_last_bgsave_status",
    }
    failed = [write for write, field in writes.items() if info.get(field, "ok") != "ok"]
    if failed:
        message = f"the last write {' and the last write '.join(failed)} failed"
        remedy = "read the store's log: the disk may be full, or not writable"
        yield Diagnostic("failure", "disk", message, remedy)


def _check_journal(config: Config, info: Mapping[str, str]) -> Iterator[Diagnostic]:
    replicas = len(replica_offsets(info))
    places = ["all replicas"] if replicas else []
    if info.get("aof_enabled") == "1":
        places.append("the append-only file")
    if not config.journal_max:
        message = "off: hits that the store loses in a failover or a restart are not sent again"
        yield Diagnostic("warning", "journal", message, "unset COUNTER_JOURNAL_MAX")
    elif not places:
        message = (
            "neither replicas nor an append-only file confirm hits: they are kept, to send them "
            f"again if the store loses them, for {UNKNOWN_SAFE_AFTER:g} s"
        )
        remedy = "connect a replica, or turn on the append-only file"
        yield Diagnostic("warning", "journal", message, remedy)
    else:
        message = f"hits are kept until {' and '.join(places)} have them"
        yield Diagnostic("ok", "journal", message)


_STORE_CHECKS = (
    _check_version,
    _check_role,
    _check_clock,
    _check_memory,
    _check_disk,
    _check_journal,
)


def _check_durability(info: Mapping[str, str], warnings: Mapping[str, str]) -> Iterator[Diagnostic]:
    warned = set()
    for setting, message in warnings.items():
        subject, remedy = DURABILITY[setting]
        warned.add(subject)
        yield Diagnostic("warning", subject, message, remedy)
    if "eviction" not in warned:
        yield Diagnostic("ok", "eviction", info.get("maxmemory_policy", "noeviction"))
    if "persistence" not in warned:
        yield Diagnostic("ok", "persistence", "an append-only file, synced before each reply")
