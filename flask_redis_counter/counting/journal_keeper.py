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
from ..store.cluster_pool import StorePool
from ..store.listing import relist
from ..store.operation import run
from ..store.pool import Part
from ..store.routing import localize
from ..store.scripts import HIT, HIT_ONCE
from ..store.server_state import STATE_PROBE, parse_state
from .journal import Entry, Journal
from .metrics import HitMetrics
from .safety import SafetyTracker

#: Seconds between two questions about the state of the store.
POLL_INTERVAL = 0.25

#: Maximum number of entries that are sent again in one round trip.
RESEND_SIZE = 500

#: Seconds after which the name of a counter on a cluster is listed again.
LISTING_INTERVAL = 60.0

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

    def __init__(self, journal: Journal, pool: StorePool, metrics: HitMetrics) -> None:
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
        self._trackers: dict[str, SafetyTracker] = {}
        # Counters whose names were listed in the last minute, and its beginning.
        self._listed: set[str] = set()
        self._listed_at = 0.0
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
        failure: StoreError | None = None
        if self._pool.is_cluster:
            self._list_names()
        parts = self._pool.parts()
        names = {part.name for part in parts}
        # A server that is new may be the replica of one that was replaced.
        replaced = [one.replicas for name, one in self._trackers.items() if name not in names]
        for part in parts:
            if part.name not in self._trackers:
                self._trackers[part.name] = SafetyTracker(max(0, max(replaced, default=0) - 1))
            try:
                self._poll_server(part)
            except StoreError as error:  # the others go on
                failure = error
        self._report()
        if failure is not None:
            raise failure

    def _poll_server(self, part: Part) -> None:
        before = self._journal.now()
        # Not while the journal is locked: hits wait for that.
        owns = (
            None if part.owns is None else set(filter(part.owns, self._journal.keys())).__contains__
        )
        state = parse_state(part.pool.read(STATE_PROBE))
        if state.history:
            foreign = self._journal.foreign(state.history, owns)
            for start in range(0, len(foreign), RESEND_SIZE):
                self._send_again(part, foreign[start : start + RESEND_SIZE], state.history)
        safe_before = self._trackers[part.name].observe(state, before, time.monotonic())
        self._journal.drop_safe(safe_before, state.history or None, owns)

    def _list_names(self) -> None:
        """List the counters that were hit, once a minute: the list may have lost a name.

        It is on another server than the counter, which may have had a failover, and a counter may
        have been created while it was being deleted.
        """
        now = time.monotonic()
        if now > self._listed_at + LISTING_INTERVAL:
            self._listed, self._listed_at = set(), now
        if new := self._journal.keys() - self._listed:
            with suppress(StoreError):
                run(relist(sorted(new)), self._pool.execute)
                self._listed |= new

    def _send_again(self, part: Part, entries: Sequence[Entry], history: str) -> None:
        """Send entries to a server.

        :raises StoreError: the store did not reply; some of them may be stored.
        """
        commands = [localize(entry.call.command()) for entry in entries]
        replies = part.pool.execute([HIT.load(), HIT_ONCE.load(), *commands])
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
