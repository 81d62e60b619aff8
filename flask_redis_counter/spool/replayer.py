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
IDLE_PAUSE = 5.0

_log = logging.getLogger(__name__)


_replayers: WeakKeyDictionary[Spool, Replayer] = WeakKeyDictionary()


def get_replayer(spool: Spool, store: ConnectionPool, metrics: HitMetrics) -> Replayer:
    """Return the replayer of a spool, started where this process has none yet."""
    # No lock: a forked child could find it held. setdefault is atomic.
    replayer = _replayers.get(spool)
    if replayer is None:
        replayer = _replayers.setdefault(spool, Replayer(spool, store, metrics))
    replayer.start()
    return replayer


def stop_replayer(spool: Spool) -> None:
    """End the replayer of a spool, where there is one; what still waits is for the next."""
    replayer = _replayers.pop(spool, None)
    if replayer is not None:
        replayer.end()


class Replayer(ForkSafe):
    """A thread that replays a spool to a store, one in each process that uses the spool.

    Several may replay one spool, in several processes: each row counts once all the same.
    """

    def __init__(self, spool: Spool, store: ConnectionPool, metrics: HitMetrics) -> None:
        self._spool = spool
        self._store = store
        self._metrics = metrics
        self._trouble = LogThrottle(_log, "the spool can be read again")
        super().__init__()

    def start(self) -> None:
        """Start the thread, where this process has none yet."""
        self.enter()

    def wake(self) -> None:
        """Let it look at once."""
        self._woken.set()

    def end(self) -> None:
        """End the thread; a copied process has none of its parent's to wait for."""
        self.enter()
        self._ended.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join()

    def _reset(self) -> None:
        self._ended = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # the system has none to spare, or the interpreter ends
            _log.warning("spooled hits wait for the next process: %s", error)

    def _run(self) -> None:
        failures = 0
        while not self._ended.is_set():
            self._woken.clear()
            if self._replayed():
                failures = 0
                self._woken.wait(IDLE_PAUSE)
            else:
                failures += 1
                self._ended.wait(BACKOFF.delay(failures))

    def _replayed(self) -> bool:
        """Replay, and return whether the store took or refused each hit that waited."""
        try:
            if self._spool.length() == 0:
                self._trouble.recovered()
                self._spool.recovered()
                return True
            counted, amount = run(self._spool.replay(), self._store.execute)
        except StoreError:
            return False  # said where the hit was spooled
        except SpoolError as error:
            self._trouble.log(logging.ERROR, "spooled hits wait: %s", error)
            return False
        self._trouble.recovered()
        if counted:
            self._metrics.record_replay(counted, amount)
            _log.warning("%d spooled hits were counted", counted)
        return True
