"""The checks of `doctor`: settings, spool, metrics folder, and the store's configuration."""

from __future__ import annotations

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
from ..spool.spool import Spool
from ..store.cluster_pool import StorePool, open_pool
from ..store.operation import run
from ..store.queries import ping
from ..store.target import parse_target
from .probes import acl_remedy, probe_features, probe_hit, probe_records
from .result import Diagnostic
from .server_checks import DURABILITY, check_state


def run_checks(
    *sources: Mapping[str, Any], store: str | redis.Redis | None = None, is_service: bool = True
) -> Iterator[Diagnostic]:
    """Run all checks, and yield their results.

    A failure skips the checks that depend on it.

    :param sources: sources of the settings; an earlier one wins.
    :param store: the store, if the settings do not say where it is.
    :param is_service: whether to check the service; False: an app with the extension.
    """
    for source in sources:
        for hint in find_hints(source):
            yield Diagnostic("warning", "settings", *hint)
    try:
        config = Config.load(*sources, store_given=store is not None)
        target = config.redis_url if store is None else store
        pool = open_pool(target, timeout=config.timeout, durability=config.durability)
    except ConfigurationError as error:
        yield Diagnostic("failure", "settings", str(error), "correct it, and run doctor again")
        return
    if store is not None:
        config = replace(config, redis_url=store if isinstance(store, str) else _client_url(store))
    yield Diagnostic("ok", "settings", f"counter {config.name}, prefix {config.prefix}")
    if not config.enabled:
        message = "COUNTER_ENABLED is false: pages do not count"
        yield Diagnostic("warning", "settings", message, "set it to true, except in tests")
    if is_service:
        if config.admin_key is not None:
            yield Diagnostic("ok", "admin key", f"it has {len(config.admin_key)} characters")
        yield from _check_server()
    else:  # features of the service alone
        config = replace(config, max_listeners=0, admin_key=None)
    yield from _check_spool(config)
    yield from _check_metrics_dir(config)
    try:
        yield from _check_store(config, pool, target)
    finally:
        pool.close()


def _client_url(client: redis.Redis | redis.RedisCluster) -> str:
    """Return the URL of a client's store, without credentials."""
    target = parse_target(client, redis)
    if target.cluster is not None:
        nodes = [(f"[{it}]" if ":" in it else it, port) for it, port in target.cluster.seeds]
        return "redis+cluster://" + ",".join(f"{host}:{port}" for host, port in nodes)
    options = target.kwargs
    if "path" in options:
        return f"unix://{options['path']}"
    return f"redis://{options.get('host', 'localhost')}:{options.get('port', 6379)}"


def _check_server() -> Iterator[Diagnostic]:
    if find_spec("uvloop"):
        yield Diagnostic("ok", "server", "the production server is installed")
    else:
        remedy = "pip install 'flask-redis-counter[server]', or serve with another WSGI server"
        yield Diagnostic("warning", "server", "the production server is not installed", remedy)


def _check_spool(config: Config) -> Iterator[Diagnostic]:
    if config.spool_dir is None:
        return
    try:
        spool = Spool(config.spool_dir, megabytes=config.spool_max_mb)
        pending_hits = spool.pending_hits()
    except (ConfigurationError, SpoolError) as error:
        remedy = "use a folder that the process may write to, on a disk with free space"
        yield Diagnostic("failure", "spool", str(error), remedy)
    else:
        yield Diagnostic("ok", "spool", f"{pending_hits} hits wait in {spool.path}")


def _check_metrics_dir(config: Config) -> Iterator[Diagnostic]:
    if config.metrics_dir is None:
        return
    try:
        claim_slot(config.metrics_dir, config.service_id)
    except OSError as error:
        message = f"COUNTER_METRICS_DIR cannot be used: {error}"
        remedy = "free some disk space, or use a folder that the process may write to"
        yield Diagnostic("warning", "metrics", message, remedy)
    else:
        message = f"worker processes add up their metrics in {config.metrics_dir}"
        yield Diagnostic("ok", "metrics", message)


def _check_store(
    config: Config, pool: StorePool, target: str | redis.Redis
) -> Iterator[Diagnostic]:
    url = config.redacted_url
    started_at = time.perf_counter()
    try:
        run(ping(), pool.read)
    except DurabilityUnsupportedError as error:
        remedy = "use another COUNTER_DURABILITY"
        if "appendfsync" in str(error):
            remedy = f"{DURABILITY['appendfsync'][1]}; or {remedy}"
        elif "permission" in str(error):
            remedy = acl_remedy(config, is_cluster=pool.is_cluster)
        yield Diagnostic("failure", "durability", str(error), remedy)
        return
    except StoreRejectedError as error:
        remedy = "set REDIS_USERNAME and REDIS_PASSWORD, or wait until it has loaded its data"
        if isinstance(error.__cause__, NoPermissionError):
            remedy = acl_remedy(config, is_cluster=pool.is_cluster)
        yield Diagnostic("failure", "store", f"{url}: {error}", remedy)
        return
    except StoreError as error:
        remedy = "start it, or set REDIS_URL, or REDIS_HOST and REDIS_PORT, to its address"
        own_remedy = getattr(error, "remedy", "")
        message = str(error).removesuffix(f": {own_remedy}")
        yield Diagnostic("failure", "store", f"{url}: {message}", own_remedy or remedy)
        return
    took = (time.perf_counter() - started_at) * 1000
    yield Diagnostic("ok", "store", f"{url} answers; the first reply took {took:.1f} ms")
    yield from check_state(config, pool)
    features = list(probe_features(config, pool, target))
    yield from features
    yield from probe_hit(config, target, is_cluster=pool.is_cluster)
    if all(result.status == "ok" for result in features):
        yield from probe_records(config, target)
