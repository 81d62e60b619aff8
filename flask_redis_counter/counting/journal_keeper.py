"""Thread that removes safe entries from a journal, and sends lost ones again."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress

from ..errors import StoreError
from ..forking import ForkSafe, stop_before_fork
from ..store.pool import ConnectionPool
from ..store.scripts import HIT, HIT_ONCE
from ..store.server_state import STATE_PROBE, parse_state
from .journal import Entry, Journal
from .metrics import HitMetrics
from .safety import SafetyTracker

#: Seconds between two questions about the state of the store.
POLL_INTERVAL = 0.25

#: Maximum number of entries that are sent again in one round trip.
RESEND_SIZE = 500

#: Seconds that a fork waits for the end of the thread, which may be waiting for the store.
STOP_TIMEOUT = 1.0

_log = logging.getLogger(__name__)


class JournalKeeper(ForkSafe):
    """Keeps a journal short and its entries stored. Its thread runs while there are entries.

    It asks the store for its state. If its history has changed, it may have lost writes: all
    entries that were acknowledged before are sent again, in their order. Dispatchers may do the
    same at the same time for the counters that they hit.

    The thread is stopped while Python forks.

    :param journal: the journal.
    :param pool: connections that no hit waits for.
    :param metrics: records the state of the journal.
    """

    _thread: threading.Thread | None

    def __init__(self, journal: Journal, pool: ConnectionPool, metrics: HitMetrics) -> None:
        self._journal = journal
        self._pool = pool
        self._metrics = metrics
        super().__init__()
        self.enter()
        journal.on_entry, journal.on_close = self.start, self.close

    def _reset(self) -> None:
        # Reentrant, for a hit in a signal handler.
        self._lock = threading.RLock()
        self._thread = None
        self._stopping = threading.Event()
        self._is_closing = False
        self._tracker = SafetyTracker()
        self._reported = self._journal.state()

    def start(self) -> None:
        """Start the thread, unless it runs."""
        self.enter()
        with self._lock:
            if self._thread is not None:
                return
            self._stopping = threading.Event()
            self._is_closing = False
            # It does not keep this object alive, nor the journal.
            arguments = weakref.ref(self), self._stopping
            thread = threading.Thread(target=_keep, args=arguments, daemon=True)
            with suppress(RuntimeError):  # the system is out of threads, or Python exits
                thread.start()
                self._thread = thread
                stop_before_fork(self)

    def close(self) -> None:
        """Let the thread end when all entries are safe, but at once if the store is down."""
        self._is_closing = True

    def _keep_once(self) -> bool:
        """Poll the store; return whether the thread is needed any longer."""
        is_needed = True
        try:
            self._poll()
        except StoreError:  # hits report an outage
            is_needed = not self._is_closing
        except Exception:
            _log.exception("the journal of acknowledged hits cannot be checked")
        self._record()
        with self._lock:
            if is_needed and self._journal:
                return True
            if self._thread is threading.current_thread():
                self._thread = None
        return False

    def stop(self) -> bool:
        """Stop the thread, and return whether it ran; the next entry starts it again."""
        if not self.belongs_here():
            return False
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is None:
            return False
        self._stopping.set()
        thread.join(STOP_TIMEOUT)
        return True

    def resume(self) -> None:
        """Start the thread again."""
        is_closing = self._is_closing
        self.start()
        self._is_closing = is_closing

    def _poll(self) -> None:
        """Send lost entries again, if any, and remove safe ones."""
        before = self._journal.now()
        state = parse_state(self._pool.read(STATE_PROBE))
        if state.history:
            foreign = self._journal.foreign(state.history)
            for start in range(0, len(foreign), RESEND_SIZE):
                self._send_again(foreign[start : start + RESEND_SIZE], state.history)
            self._report()
        safe_before = self._tracker.observe(state, before, time.monotonic())
        self._journal.drop_safe(safe_before, state.history or None)

    def _send_again(self, entries: Sequence[Entry], history: str) -> None:
        """Send entries.

        :raises StoreError: the store did not reply; some of them may be stored.
        """
        commands = [entry.call.command() for entry in entries]
        replies = self._pool.execute([HIT.load(), HIT_ONCE.load(), *commands])
        self._journal.apply_replies(entries, replies[2:], history)

    def _record(self) -> None:
        state = self._journal.state()
        self._metrics.record_journal(state, self._reported)
        self._reported = state

    def _report(self) -> None:
        if resent := self._journal.take_resent():
            _log.warning(
                "%d acknowledged hits were sent to the store again, after a failover or a restart; "
                "those that it had lost were counted",
                resent,
            )


def _keep(owner: weakref.ref[JournalKeeper], stopping: threading.Event) -> None:
    pool = None
    while not stopping.wait(POLL_INTERVAL):
        keeper = owner()
        if keeper is None:
            break
        pool = keeper._pool
        if not keeper._keep_once():
            break
        del keeper
    if pool is not None:
        pool.close()
