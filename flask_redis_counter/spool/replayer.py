"""Replays spooled hits when the store is up again."""

from __future__ import annotations

import logging
import threading
from weakref import WeakKeyDictionary

from ..counting.journal import Journal
from ..counting.metrics import HitMetrics
from ..errors import SpoolError, StoreError
from ..forking import ForkSafe
from ..log_throttle import LogThrottle
from ..store.backoff import Backoff
from ..store.cluster_pool import StorePool
from ..store.confirmation import Confirmation
from ..store.operation import run
from ..validation import Durability
from .spool import Spool

#: Delay between attempts while the store is down, in seconds: up to 0.1, doubled up to 2.
BACKOFF = Backoff(0.1, 2.0)

#: Seconds between two checks of an empty spool (another process may have added hits before it
#: ended), and between two attempts to replay hits that the store rejects.
IDLE_INTERVAL = 5.0

_log = logging.getLogger(__name__)


_replayers: WeakKeyDictionary[Spool, Replayer] = WeakKeyDictionary()


def get_replayer(
    spool: Spool,
    pool: StorePool,
    metrics: HitMetrics,
    journal: Journal,
    durability: Durability,
) -> Replayer:
    """Return the replayer of a spool, and start it if this process has none."""
    # No lock, which a forked child could inherit locked; setdefault is atomic.
    replayer = _replayers.get(spool)
    if replayer is None:
        confirmation = Confirmation(durability, pool.attempt_timeout)
        replayer = _replayers.setdefault(
            spool, Replayer(spool, pool, metrics, journal, confirmation)
        )
    replayer.start()
    return replayer


def stop_replayer(spool: Spool) -> None:
    """Stop the replayer of a spool, if there is one. Pending hits stay in the spool."""
    replayer = _replayers.pop(spool, None)
    if replayer is not None:
        replayer.stop()


class Replayer(ForkSafe):
    """Thread that replays a spool to a store; each process that uses the spool has one.

    Several processes can replay one spool at the same time: each row counts once.
    """

    def __init__(
        self,
        spool: Spool,
        pool: StorePool,
        metrics: HitMetrics,
        journal: Journal,
        confirmation: Confirmation,
    ) -> None:
        self._spool = spool
        self._pool = pool
        self._metrics = metrics
        self._journal = journal
        self._confirmation = confirmation
        self._error_log = LogThrottle(_log, "the spool can be read again")
        super().__init__()

    def start(self) -> None:
        """Start the thread, if this process has none."""
        self.enter()

    def wake(self) -> None:
        """Let the thread check the spool now."""
        self._wake_event.set()

    def stop(self) -> None:
        """Stop the thread and wait for its end. A forked process has no thread of its parent."""
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
        except RuntimeError as error:  # no more threads, or the interpreter is shutting down
            _log.warning("spooled hits are not replayed by this process: %s", error)

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
        """Replay the spool; return whether the store counted or rejected each hit.

        False, too, if the journal has no room for more.
        """
        try:
            if self._spool.pending_hits() == 0:
                self._error_log.recovered()
                self._spool.recovered()
                return True
            replay = self._spool.replay(self._journal, self._confirmation, self._pool.lane)
            counted, amount = run(replay, self._pool.execute)
        except StoreError:
            return False  # logged when the hit was spooled
        except SpoolError as error:
            self._error_log.log(logging.ERROR, "spooled hits cannot be replayed now: %s", error)
            return False
        self._error_log.recovered()
        if counted:
            self._metrics.record_replay(counted, amount)
            _log.warning("%d spooled hits were counted", counted)
        return self._journal.room != 0
