"""What is wrong with the settings, or with the store, and what to do about it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import redis
from redis.exceptions import NoPermissionError

from ..config.config import Config
from ..config.hints import find_hints
from ..counting.metrics import claim_slot
from ..errors import (
    ConfigurationError,
    DurabilityUnsupportedError,
    SpoolError,
    StoreError,
    StoreRejectedError,
)
from ..series import now
from ..spool.spool import Spool
from ..store.info import durability_warnings, parse_server, read_info
from ..store.operation import Operation, gather, run
from ..store.pool import ConnectionPool
from ..store.queries import ping
from .probes import acl_remedy, probe_features, probe_hit, probe_records
from .result import Diagnostic

#: The oldest server that has all that the scripts use; Valkey began after it.
MIN_REDIS_VERSION = (6, 2)

_SECTIONS = ("server", "memory", "persistence", "replication", "keyspace")

#: Seconds by which the clocks may differ.
MAX_CLOCK_DRIFT = 2.0

# By the server's setting: what it is about, and its remedy.
_CONFIG = "on the server: CONFIG SET {0}, and the same in its configuration file"
_RISKS = {
    "maxmemory-policy": ("eviction", _CONFIG.format("maxmemory-policy noeviction")),
    "appendonly": ("persistence", _CONFIG.format("appendonly yes, CONFIG SET appendfsync always")),
    "appendfsync": ("persistence", _CONFIG.format("appendfsync always")),
    "config": ("persistence", "let this user run CONFIG GET, or see that appendfsync is always"),
}


def run_checks(
    *sources: Mapping[str, Any], store: str | redis.Redis | None = None, serves: bool = True
) -> Iterator[Diagnostic]:
    """Look at one thing after the other; what cannot be looked at any more is left out.

    :param sources: where the settings are; an earlier one wins.
    :param store: the store, where the settings do not say where it is.
    :param serves: whether the service is examined, and not an app.
    """
    for source in sources:
        for hint in find_hints(source):
            yield Diagnostic("warning", "settings", *hint)
    try:
        config = Config.load(*sources, store_given=store is not None)
        target = config.redis_url if store is None else store
        pool = ConnectionPool(target, timeout=config.timeout, durability=config.durability)
    except ConfigurationError as error:
        yield Diagnostic("failure", "settings", str(error), "correct it, and look again")
        return
    if store is not None:
        config = replace(config, redis_url=store if isinstance(store, str) else _url_of(store))
    yield Diagnostic("ok", "settings", f"counter {config.name}, prefix {config.prefix}")
    if not config.enabled:
        remedy = "set it to true, but in tests"
        yield Diagnostic(
            "warning", "settings", "COUNTER_ENABLED is false: pages do not count", remedy
        )
    if serves:
        if config.admin_key is not None:
            yield Diagnostic("ok", "admin key", f"it has {len(config.admin_key)} characters")
        yield from _server()
    else:  # what an app does not have
        config = replace(config, max_listeners=0, admin_key=None)
    yield from _spool(config)
    yield from _metrics(config)
    try:
        yield from _store(config, pool, target)
    finally:
        pool.close()


def _url_of(client: redis.Redis) -> str:
    """Return where a client's store is, without credentials."""
    options = client.connection_pool.connection_kwargs
    if "path" in options:
        return f"unix://{options['path']}"
    return f"redis://{options.get('host', 'localhost')}:{options.get('port', 6379)}"


def _server() -> Iterator[Diagnostic]:
    if find_spec("granian"):
        yield Diagnostic("ok", "server", "the production server is installed")
    else:
        remedy = "pip install 'flask-redis-counter[server]', or serve with another WSGI server"
        yield Diagnostic("warning", "server", "the production server is not installed", remedy)


def _spool(config: Config) -> Iterator[Diagnostic]:
    if config.spool_dir is None:
        return
    try:
        spool = Spool(config.spool_dir, megabytes=config.spool_max_mb)
        waiting = spool.length()
    except (ConfigurationError, SpoolError) as error:
        remedy = "give the service a folder that it may write to, on a disk that has room"
        yield Diagnostic("failure", "spool", str(error), remedy)
    else:
        yield Diagnostic("ok", "spool", f"{waiting} hits wait in {spool.path}")


def _metrics(config: Config) -> Iterator[Diagnostic]:
    if config.metrics_dir is None:
        return
    try:
        claim_slot(config.metrics_dir, config.service_id)
    except OSError as error:
        remedy = "make room, or name a folder that it may write to"
        yield Diagnostic(
            "warning", "metrics", f"COUNTER_METRICS_DIR cannot be used: {error}", remedy
        )
    else:
        yield Diagnostic("ok", "metrics", f"worker processes add up in {config.metrics_dir}")


def _store(
    config: Config, store: ConnectionPool, target: str | redis.Redis
) -> Iterator[Diagnostic]:
    began = time.perf_counter()
    try:
        run(ping(), store.ask)
    except DurabilityUnsupportedError as error:
        remedy = "take another COUNTER_DURABILITY"
        if "appendfsync" in str(error):
            remedy = f"{_RISKS['appendfsync'][1]}; or {remedy}"
        elif "permission" in str(error):
            remedy = acl_remedy(config)
        yield Diagnostic("failure", "durability", str(error), remedy)
        return
    except StoreRejectedError as error:
        remedy = "set REDIS_USERNAME and REDIS_PASSWORD, or wait until it has loaded its data"
        if isinstance(error.__cause__, NoPermissionError):
            remedy = acl_remedy(config)
        yield Diagnostic("failure", "store", f"{config.redacted_url}: {error}", remedy)
        return
    except StoreError as error:
        remedy = "start it, or say in REDIS_URL, or REDIS_HOST and REDIS_PORT, where it is"
        known = getattr(error, "remedy", "")
        message = str(error).removesuffix(f": {known}")
        yield Diagnostic("failure", "store", f"{config.redacted_url}: {message}", known or remedy)
        return
    took = (time.perf_counter() - began) * 1000
    yield Diagnostic(
        "ok", "store", f"{config.redacted_url} answers, the first time in {took:.1f} ms"
    )
    try:
        facts = run(_facts(), store.ask)
        risks = run(durability_warnings(), store.ask)
    except StoreError as error:
        remedy = "let this user run INFO, to have it examined"
        yield Diagnostic("warning", "store", f"it may not be asked about itself: {error}", remedy)
    else:
        for look in (_version, _role, _clock, _memory, _disk):
            yield from look(config, facts)
        yield from _risks(facts, risks)
    rights = list(probe_features(config, store, target))
    yield from rights
    yield from probe_hit(config, target)
    if all(finding.status == "ok" for finding in rights):
        yield from probe_records(config, target)


def _facts() -> Operation[dict[str, str]]:
    """Read what the server says of itself, and by how much its clock is ahead of ours."""
    info, ahead = yield from gather(read_info(*_SECTIONS), _clock_ahead())
    if isinstance(info, StoreError):
        raise info
    facts: dict[str, str] = info
    if ahead is not None:
        facts["ahead"] = str(ahead)
    return facts


def _clock_ahead() -> Operation[float | None]:
    (clock,) = yield [("TIME",)]
    return int(clock[0]) + int(clock[1]) / 1e6 - now() if isinstance(clock, list) else None


def _version(_: Config, facts: Mapping[str, str]) -> Iterator[Diagnostic]:
    message = " ".join(parse_server(facts))
    # What Valkey calls its redis_version is the Redis that it can do all of.
    numbers = tuple(int(part) for part in facts.get("redis_version", "0").split(".")[:2])
    if numbers >= MIN_REDIS_VERSION:
        yield Diagnostic("ok", "version", message)
    else:
        yield Diagnostic(
            "failure", "version", message, "upgrade to Redis 6.2 or later, or to Valkey"
        )


def _role(config: Config, facts: Mapping[str, str]) -> Iterator[Diagnostic]:
    if facts.get("role") == "slave":
        place = f"{facts.get('master_host')}:{facts.get('master_port')}"
        message = f"a replica, which takes no hits, of {place}"
        yield Diagnostic("failure", "role", message, "set REDIS_URL to the primary")
        return
    replicas = facts.get("connected_slaves", "0")
    message = f"a primary with {replicas} replicas"
    if replicas == "0" and config.durability == "replica":
        remedy = "connect a replica, or take another COUNTER_DURABILITY"
        yield Diagnostic(
            "failure", "role", f"{message}, and COUNTER_DURABILITY waits for one", remedy
        )
    else:
        yield Diagnostic("ok", "role", message)


def _clock(_: Config, facts: Mapping[str, str]) -> Iterator[Diagnostic]:
    if "ahead" not in facts:
        return
    ahead = float(facts["ahead"])
    message = f"{abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this one"
    if abs(ahead) <= MAX_CLOCK_DRIFT:
        yield Diagnostic("ok", "clock", f"the store's is as this one, within {MAX_CLOCK_DRIFT:g} s")
    else:
        remedy = "synchronise both (NTP): days are counted by this clock, and end by the store's"
        yield Diagnostic("warning", "clock", f"the store's is {message}", remedy)


def _memory(config: Config, facts: Mapping[str, str]) -> Iterator[Diagnostic]:
    used, limit = (int(facts.get(name, 0)) for name in ("used_memory", "maxmemory"))
    if not limit:
        message = f"{used / 1e6:.1f} MB, and no limit: nothing bounds what idempotency keys take"
        yield Diagnostic("ok", "memory", message)
    elif used * 100 < limit * (config.limits.idempotency_memory or 100):
        yield Diagnostic("ok", "memory", f"{used / 1e6:.1f} of {limit / 1e6:.1f} MB")
    else:
        expiring = sum(map(int, re.findall(r"expires=(\d+)", " ".join(facts.values()))))
        message = (
            f"{used / 1e6:.1f} of {limit / 1e6:.1f} MB: hits with a new idempotency key are "
            f"refused, and all hits when it is full; {expiring} keys expire by themselves"
        )
        remedy = (
            "raise maxmemory, or wait: an idempotency key is kept for a day after its last use, "
            "also where its counter is deleted; COUNTER_RATE_LIMIT bounds "
            "how many an address may send"
        )
        yield Diagnostic("warning", "memory", message, remedy)


def _disk(_: Config, facts: Mapping[str, str]) -> Iterator[Diagnostic]:
    failed = [
        what
        for what, name in {
            "to the append-only file": "aof_last_write_status",
            "of a snapshot": "rdb_last_bgsave_status",
        }.items()
        if facts.get(name, "ok") != "ok"
    ]
    if failed:
        message = f"its last write {' and its last one '.join(failed)} failed"
        yield Diagnostic(
            "failure", "disk", message, "see its log: is the disk full, or not its own?"
        )


def _risks(facts: Mapping[str, str], risks: Mapping[str, str]) -> Iterator[Diagnostic]:
    at_risk = set()
    for setting, risk in risks.items():
        subject, remedy = _RISKS[setting]
        at_risk.add(subject)
        yield Diagnostic("warning", subject, risk, remedy)
    if "eviction" not in at_risk:
        yield Diagnostic("ok", "eviction", facts.get("maxmemory_policy", "noeviction"))
    if "persistence" not in at_risk:
        yield Diagnostic("ok", "persistence", "an append-only file, synced before each answer")
