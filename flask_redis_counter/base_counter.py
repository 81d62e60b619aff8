"""Arguments, attributes and the spool: the part that the counters for threads and asyncio share."""

from __future__ import annotations

from .counting.hit import PendingHit
from .counting.metrics import HitMetrics
from .counting.visitors import VisitorCache
from .forking import ForkSafe
from .spool.replayer import get_replayer
from .spool.spool import Spool
from .store.pool import ConnectionPool
from .validation import Durability, check_durability, check_prefix, check_timeout


class BaseCounter(ForkSafe):
    """Base class of :class:`RedisCounter` and :class:`AsyncRedisCounter`."""

    # Connections of the replayer, which is a thread; set by a subclass that has a spool.
    _replay_pool: ConnectionPool

    def __init__(
        self,
        *,
        prefix: str,
        timeout: float,
        durability: Durability,
        spool: Spool | None,
        metrics: HitMetrics | None,
        visitors: VisitorCache | None,
    ) -> None:
        self.prefix = check_prefix(prefix)
        self.timeout = check_timeout(timeout)
        self.durability = check_durability(durability)
        self.metrics = metrics or HitMetrics()
        self.visitors = visitors or VisitorCache()
        self.spool = spool
        super().__init__()

    def _add_to_spool(self, spool: Spool, hit: PendingHit) -> None:
        """Add a hit that the store did not take to the spool. Blocks while the disk writes."""
        spool.add(hit)
        get_replayer(spool, self._replay_pool, self.metrics).wake()

    def _reset(self) -> None:
        self.visitors.enter()
        if self.spool is not None:
            get_replayer(self.spool, self._replay_pool, self.metrics)
