"""Trials of what the store lets its user do: each command, a hit, and what a hit leaves behind."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import redis
from redis.exceptions import NoPermissionError

from ..config.config import Config
from ..counter import RedisCounter
from ..errors import CounterError, StoreError
from ..store.acl import FEATURES, acl_rules, try_channel, try_rights
from ..store.keys import counter_key
from ..store.operation import run
from ..store.pool import ConnectionPool
from .result import Diagnostic


def probe_features(
    config: Config, store: ConnectionPool, target: str | redis.Redis
) -> Iterator[Diagnostic]:
    """Try each command that the features need; those in use fail where one is missing."""
    key = counter_key(config.prefix, f"doctor-{secrets.token_hex(8)}")
    try:
        errors = run(try_rights(key), store.ask)
        with closing(ConnectionPool(target, timeout=config.timeout)) as listening:
            errors |= run(try_channel(key), listening.ask)
    except StoreError as error:
        yield Diagnostic("warning", "rights", f"cannot be tried: {error}", "see its log")
        return
    used = _features(config)
    missing = False
    for name in dict.fromkeys((*used, "changes", "transfer")):
        lacking = [right for right in FEATURES[name].rights if right in errors]
        if lacking:
            missing = True
            first = errors[lacking[0]]
            remedy = "use a server that has these commands, such as Redis or Valkey"
            if isinstance(first.__cause__, NoPermissionError):
                remedy = acl_remedy(config)
            message = f"{FEATURES[name].without}, for want of {' '.join(lacking)}: {first}"
            yield Diagnostic("failure" if name in used else "warning", name, message, remedy)
    if not missing:
        yield Diagnostic("ok", "rights", "this user may run all commands that are needed")


def probe_hit(config: Config, target: str | redis.Redis) -> Iterator[Diagnostic]:
    """Count twice under one token on a counter of its own, which goes with it."""
    name = f"doctor-{secrets.token_hex(8)}"
    try:
        with _counter(config, target) as counter:
            first, again = (counter.hit(name, idempotency_key=name) for _ in range(2))
            counter.delete(name)
    except CounterError as error:
        yield Diagnostic("failure", "hit", f"a hit was tried: {error}", _remedy(config, error))
        return
    if (first.value, again.value, again.replayed) == (1, 1, True):
        yield Diagnostic("ok", "hit", "one was sent twice and counted once; it was taken back")
    else:
        message = f"one was sent twice, and answered {first.value} and {again.value}"
        yield Diagnostic("failure", "hit", message, "report this: it must not be")


def probe_records(config: Config, target: str | redis.Redis) -> Iterator[Diagnostic]:
    """Count once, and see that the day, the visitor and the name are recorded."""
    name = f"doctor-{secrets.token_hex(8)}"
    try:
        with _counter(config, target) as counter:
            counter.hit(name, visitor=name if config.visitors else None)
            days = counter.series(name, days=2)  # midnight may be between the two
            listed = name in counter.names(after=name[:-1], limit=1)
            counter.delete(name)
    except CounterError:
        return  # said of the hit before
    visited = not config.visitors or any(day.visitors for day in days)
    found = {"day": any(day.hits for day in days), "unique visitor": visited, "name": listed}
    missing = " and ".join(what for what, there in found.items() if not there)
    if missing:
        remedy = "see the warning in the log, or use a server such as Redis or Valkey"
        yield Diagnostic("failure", "recorded", f"a hit counted without its {missing}", remedy)


def acl_remedy(config: Config) -> str:
    """Return the command that gives the store's user all rights that the settings need."""
    user = urlsplit(config.redis_url).username or "default"
    rules = acl_rules(config.prefix, (*_features(config), "changes", "transfer"))
    return f"on the server: ACL SETUSER {user} {rules}"


def _features(config: Config) -> list[str]:
    """Return the features that the settings make use of."""
    limits = config.limits
    switches = {
        "visitors": config.visitors,
        "rates": limits.rate is not None or limits.visitor_window is not None,
        "live": config.max_listeners > 0,
        "changes": config.admin_key is not None,
        "fsync": config.durability == "fsync",
        "replica": config.durability == "replica",
    }
    return ["hits", "days", "names", "information", *(name for name, on in switches.items() if on)]


def _counter(config: Config, target: str | redis.Redis) -> RedisCounter:
    return RedisCounter(
        target,
        prefix=config.prefix,
        timeout=config.timeout,
        durability=config.durability,
    )


def _remedy(config: Config, error: CounterError) -> str:
    message = str(error)
    remedies = {
        "permission": acl_remedy(config),
        "can't run": acl_remedy(config),
        "maxmemory": "raise maxmemory, delete counters, or wait for idempotency keys to expire",
        "snapshots": "see its log: is its disk full?",
        "read only replica": "set REDIS_URL to the primary",
    }
    return next((found for word, found in remedies.items() if word in message), "see its log")
