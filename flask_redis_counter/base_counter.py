"""Base class of the counters for threads and for asyncio: arguments, attributes, spool."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TypedDict

import redis
import redis.asyncio

from .counting.hit import PendingHit
from .counting.journal import Journal
from .counting.journal_keeper import JournalKeeper
from .counting.metrics import HitMetrics
from .counting.visitors import VisitorCache
from .forking import ForkSafe
from .spool.replayer import Replayer, get_replayer
from .spool.spool import Spool
from .store.cluster_pool import StorePool, open_pool
from .store.target import thread_target
from .validation import Durability, check_durability, check_prefix, check_timeout

# Settings that a counter reads from the environment, besides all ``REDIS_…`` settings.
_SETTINGS = (
    "COUNTER_PREFIX",
    "COUNTER_TIMEOUT",
    "COUNTER_DURABILITY",
    "COUNTER_JOURNAL_MAX",
    "COUNTER_JOURNAL_FULL",
    "COUNTER_ON_OUTAGE",
    "COUNTER_SPOOL_DIR",
    "COUNTER_SPOOL_MAX_MB",
)


class CounterOptions(TypedDict, total=False):
    """Keyword arguments of both counters."""

    prefix: str
    timeout: float
    durability: Durability
    spool: Spool | None
    metrics: HitMetrics | None
    visitors: VisitorCache | None
    journal: Journal | None


def load_options(
    environ: Mapping[str, str] | None, options: CounterOptions
) -> tuple[str, CounterOptions]:
    """Return the store's URL and the arguments of a counter, from the environment.

    :param environ: the settings; None: ``os.environ``.
    :param options: arguments that take precedence over the settings.
    :raises ConfigurationError: a setting is malformed, out of bounds or contradictory.
    """
    from .config.config import Config  # only programs that call from_env need it

    environ = os.environ if environ is None else environ
    known = {
        name: value
        for name, value in environ.items()
        if name.startswith("REDIS_") or name in _SETTINGS
    }
    config = Config.load(known)
    loaded: CounterOptions = {
        "prefix": config.prefix,
        "timeout": config.timeout,
        "durability": config.durability,
    }
    if "journal" not in options:
        loaded["journal"] = Journal(config.journal_max, config.journal_full)
    if config.spool_dir is not None and "spool" not in options:
        loaded["spool"] = Spool(config.spool_dir, megabytes=config.spool_max_mb)
    return config.redis_url, {**loaded, **options}


class BaseCounter(ForkSafe):
    """Base class of :class:`RedisCounter` and :class:`AsyncRedisCounter`."""

    # Connections of the replayer thread; a subclass sets it if there is a spool.
    _replay_pool: StorePool

    def __init__(
        self,
        *,
        prefix: str,
        timeout: float,
        durability: Durability,
        spool: Spool | None,
        metrics: HitMetrics | None,
        visitors: VisitorCache | None,
        journal: Journal | None,
    ) -> None:
        self.prefix: str = check_prefix(prefix)
        self.timeout: float = check_timeout(timeout)
        self.durability = check_durability(durability)
        self.metrics: HitMetrics = metrics or HitMetrics()
        self.visitors: VisitorCache = visitors or VisitorCache()
        self.spool = spool
        self.journal: Journal = Journal() if journal is None else journal
        super().__init__()

    def _add_to_spool(self, spool: Spool, hit: PendingHit) -> None:
        """Add a hit that the store did not accept to the spool. Blocks while the disk writes."""
        spool.add(hit)
        self._start_replayer(spool).wake()

    def _start_replayer(self, spool: Spool) -> Replayer:
        return get_replayer(spool, self._replay_pool, self.metrics, self.journal, self.durability)

    def _keep_journal(
        self,
        store: str
        | redis.Redis
        | redis.RedisCluster
        | redis.asyncio.Redis
        | redis.asyncio.RedisCluster,
    ) -> None:
        """Let a thread keep the journal, unless that of another counter does."""
        if self.journal.on_entry is not None or not self.journal.limit:
            return
        target = (
            thread_target(store)
            if isinstance(store, redis.asyncio.Redis | redis.asyncio.RedisCluster)
            else store
        )
        if target is None:
            self.journal = Journal(0)  # no thread could send its entries again
        else:
            pool = open_pool(target, timeout=self.timeout)
            JournalKeeper(self.journal, pool, self.metrics)

    def _reset(self) -> None:
        self.visitors.enter()
        self.journal.enter()
        if self.spool is not None:
            self._start_replayer(self.spool)
