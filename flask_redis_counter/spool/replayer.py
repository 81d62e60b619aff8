"""Counts what waits in a spool, once the store takes it."""

from __future__ import annotations

import logging
import threading
from weakref import WeakKeyDictionary

from ..counting.metrics import HitMetrics
from ..errors import SpoolError, StoreError
from ..forking import ForkSafe
from ..log_throttle import LogThrottle
from ..store.backoff import Backoff
from ..store.operation import run
from ..store.pool import ConnectionPool
from .spool import Spool

#: Seconds between attempts while the store is down: at most 0.1 after the first, and at most 2.
BACKOFF = Backoff(0.1, 2.0)

#: Seconds between two looks at a spool that was empty: another process may have died since; and
#: between two attempts at hits that the store refuses: somebody has to mend it first.
IDLE_INTERVAL = 5.0

_log = logging.getLogger(__name__)


_replayers: WeakKeyDictionary[Spool, Replayer] = WeakKeyDictionary()


def get_replayer(spool: Spool, pool: ConnectionPool, metrics: HitMetrics) -> Replayer:
    """Return the replayer of a spool, started where this process has none yet."""
    # No lock: a forked child could find it held. setdefault is atomic.
    replayer = _replayers.get(spool)
    if replayer is None:
        replayer = _replayers.setdefault(spool, Replayer(spool, pool, metrics))
    replayer.start()
    return replayer


def stop_replayer(spool: Spool) -> None:
    """End the replayer of a spool, where there is one; what still waits is for the next."""
    replayer = _replayers.pop(spool, None)
    if replayer is not None:
        replayer.stop()


class Replayer(ForkSafe):
    """A thread that replays a spool to a store, one in each process that uses the spool.

    Several may replay one spool, in several processes: each row counts once all the same.
    """

    def __init__(self, spool: Spool, pool: ConnectionPool, metrics: HitMetrics) -> None:
        self._spool = spool
        self._pool = pool
        self._metrics = metrics
        self._error_log = LogThrottle(_log, "the spool can be read again")
        super().__init__()

    def start(self) -> None:
        """Start the thread, where this process has none yet."""
        self.enter()

    def wake(self) -> None:
        """Let it look at once."""
        self._wake_event.set()

    def stop(self) -> None:
        """End the thread; a copied process has none of its parent's to wait for."""
        self.enter()
        self._stop_event.set()
        self._wake_event.set()
        if self._thread.is_alive():
            self._thread.join()

    def _reset(self) -> None:
        self._stop_event = threading.Event()
        self._wake_event = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # the system has none to spare, or the interpreter ends
            _log.warning("spooled hits wait for the next process: %s", error)

    def _run(self) -> None:
        failures = 0
        while not self._stop_event.is_set():
            self._wake_event.clear()
            if self._replay_all():
                failures = 0
                self._wake_event.wait(IDLE_INTERVAL)
            else:
                failures += 1
                self._stop_event.wait(BACKOFF.delay(failures))

    def _replay_all(self) -> bool:
        """Replay, and return whether the store took or refused each hit that waited."""
        try:
            if self._spool.pending_hits() == 0:
                self._error_log.recovered()
                self._spool.recovered()
                return True
            counted, amount = run(self._spool.replay(), self._pool.execute)
        except StoreError:
            return False  # said where the hit was spooled
        except SpoolError as error:
            self._error_log.log(logging.ERROR, "spooled hits wait: %s", error)
            return False
        self._error_log.recovered()
        if counted:
            self._metrics.record_replay(counted, amount)
            _log.warning("%d spooled hits were counted", counted)
        return True
