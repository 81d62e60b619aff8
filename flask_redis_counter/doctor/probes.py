"""Probes that write to the store: they run each command, send a hit, and check its records."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing, suppress

import redis
from redis.exceptions import NoPermissionError

from ..config.config import Config
from ..counter import RedisCounter
from ..errors import CounterError, OutcomeUnknownError, StoreError
from ..store.acl import FEATURES, acl_rules, probe_channel, probe_rights
from ..store.cluster_pool import StorePool, open_pool
from ..store.keys import counter_key
from ..store.operation import run
from ..store.url import split_url
from ..validation import required_replicas
from .result import Diagnostic

_READ_LOG = "read the store's log"

#: Features that are tested even if the settings do not use them.
_FURTHER = ("changes", "transfer", "confirmation")


def probe_features(
    config: Config, store: StorePool, target: str | redis.Redis
) -> Iterator[Diagnostic]:
    """Run each command that the features need.

    A missing command is a failure of the features in use, and a warning for the others.
    """
    key = counter_key(config.prefix, f"doctor-{secrets.token_hex(8)}")
    try:
        errors = run(probe_rights(key), store.read)
        with closing(open_pool(target, timeout=config.timeout)) as subscriber:
            errors |= run(probe_channel(key), subscriber.read)
    except StoreError as error:
        yield Diagnostic("warning", "rights", f"cannot be tested: {error}", _READ_LOG)
        return
    is_cluster = store.is_cluster
    # Redis 6 has no sharded pub/sub: PUBLISH takes its place.
    has_shards = is_cluster and "unknown command" not in str(errors.get("spublish", ""))
    used = _used_features(config, is_cluster=is_cluster, has_shards=has_shards)
    is_complete = True
    for name in dict.fromkeys((*used, *_FURTHER)):
        missing = [right for right in FEATURES[name].rights if right in errors]
        if missing:
            is_complete = False
            first_error = errors[missing[0]]
            remedy = "use a server that has these commands, such as Redis or Valkey"
            if isinstance(first_error.__cause__, NoPermissionError):
                remedy = acl_remedy(config, is_cluster=is_cluster, has_shards=has_shards)
            message = f"{FEATURES[name].consequence}, without {' '.join(missing)}: {first_error}"
            yield Diagnostic("failure" if name in used else "warning", name, message, remedy)
    if is_complete:
        yield Diagnostic("ok", "rights", "this user may run all commands that are needed")


def probe_hit(
    config: Config, target: str | redis.Redis, *, is_cluster: bool
) -> Iterator[Diagnostic]:
    """Send a hit twice with one idempotency key, on a counter that is deleted afterwards."""
    name = f"doctor-{secrets.token_hex(8)}"
    try:
        with _make_counter(config, target) as counter:
            try:
                first, again = (counter.hit(name, idempotency_key=name) for _ in range(2))
            except CounterError:
                with suppress(CounterError):  # it may have counted
                    counter.delete(name)
                raise
            yield from _delete(counter, name)
    except CounterError as error:
        yield Diagnostic(
            "failure",
            "hit",
            f"a test hit failed: {error}",
            _hit_remedy(error, acl_remedy(config, is_cluster=is_cluster)),
        )
        return
    if (first.value, again.value, again.replayed) == (1, 1, True):
        yield Diagnostic("ok", "hit", "a test hit was sent twice, counted once, and deleted")
    else:
        message = f"a test hit was sent twice; the replies were {first.value} and {again.value}"
        yield Diagnostic("failure", "hit", message, "report this as a bug")


def probe_records(config: Config, target: str | redis.Redis) -> Iterator[Diagnostic]:
    """Send one hit, and check that its day, its visitor and the counter's name are recorded."""
    name = f"doctor-{secrets.token_hex(8)}"
    try:
        with _make_counter(config, target) as counter:
            try:
                counter.hit(name, visitor=name if config.visitors else None)
                days = counter.series(name, days=2)  # midnight may pass after the hit
                is_listed = name in counter.names(after=name[:-1], limit=1)
            finally:
                with suppress(OutcomeUnknownError):  # probe_hit has reported it
                    counter.delete(name)
    except CounterError:
        return  # probe_hit has reported it
    has_visitor = not config.visitors or any(day.visitors for day in days)
    records = {
        "day": any(day.hits for day in days),
        "unique visitor": has_visitor,
        "name": is_listed,
    }
    missing = " and ".join(record for record, is_there in records.items() if not is_there)
    if missing:
        remedy = "read the warning in the log, or use a server such as Redis or Valkey"
        yield Diagnostic("failure", "recorded", f"a hit was counted without its {missing}", remedy)


def _delete(counter: RedisCounter, name: str) -> Iterator[Diagnostic]:
    try:
        counter.delete(name)
    except OutcomeUnknownError as error:
        message = f"the deletion of the test counter was not confirmed: {error}"
        remedy = "check the store's replicas, its disk and the network"
        yield Diagnostic("warning", "confirmation", message, remedy)


def acl_remedy(config: Config, *, is_cluster: bool, has_shards: bool | None = None) -> str:
    """Return the command that grants the store's user all rights that the settings need.

    :param has_shards: whether the store has sharded pub/sub; None: if it is a cluster.
    """
    user = split_url(config.redis_url).username or "default"
    has_shards = is_cluster if has_shards is None else has_shards
    features = _used_features(config, is_cluster=is_cluster, has_shards=has_shards)
    rules = acl_rules(config.prefix, (*features, *_FURTHER))
    return f"on {'each node' if is_cluster else 'the server'}: ACL SETUSER {user} {rules}"


def _used_features(config: Config, *, is_cluster: bool, has_shards: bool) -> list[str]:
    """Return the names of the features that the settings use."""
    limits = config.limits
    switches = {
        "visitors": config.visitors,
        "rates": limits.rate is not None or limits.visitor_window is not None,
        "live": config.max_listeners > 0 and not has_shards,
        "live on a cluster": config.max_listeners > 0 and has_shards,
        "changes": config.admin_key is not None,
        "fsync": config.durability == "fsync",
        "replica": required_replicas(config.durability) > 0,
        "cluster": is_cluster,
    }
    return ["hits", "days", "names", "information", *(name for name, on in switches.items() if on)]


def _make_counter(config: Config, target: str | redis.Redis) -> RedisCounter:
    return RedisCounter(
        target,
        prefix=config.prefix,
        timeout=config.timeout,
        durability=config.durability,
    )


def _hit_remedy(error: CounterError, rights: str) -> str:
    message = str(error)
    remedies = {
        "permission": rights,
        "can't run": rights,
        "maxmemory": "raise maxmemory, delete counters, or wait for idempotency keys to expire",
        "snapshots": f"{_READ_LOG}: the disk may be full",
        "read only replica": "set REDIS_URL to the primary",
    }
    return next((remedy for text, remedy in remedies.items() if text in message), _READ_LOG)
