"""The SQLite file of the spool: synced at each commit, quarantined if it is corrupt."""

from __future__ import annotations

import fcntl
import logging
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from ..errors import SpoolError
from ..forking import ForkSafe, around_fork

#: Seconds to wait for other threads and processes that write.
BUSY_TIMEOUT = 2.0

#: Seconds between two attempts to lock a file.
LOCK_RETRY_DELAY = 0.01

#: Pages (of 4 KiB) reserved for deleting rows when the file is full.
SPARE_PAGES = 64

_VERSION = 4
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS entry (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL,           -- key of the counter in the store
    writer TEXT NOT NULL,        -- writer id; '' in an open row, 'token' with an idempotency key
    number INTEGER NOT NULL,     -- sequence number; the hour in an open row
    token TEXT NOT NULL,         -- idempotency key, or ''
    sender TEXT NOT NULL,        -- sender of the call that was sent, or ''
    amount INTEGER NOT NULL,
    hits INTEGER NOT NULL,
    hour TEXT NOT NULL,          -- hour in which the hits count
    earlier INTEGER NOT NULL DEFAULT 0,  -- number of the writer's call to be stored before; 0: none
    sent REAL,                   -- when it was first sent, seconds since 1970; NULL: never
    UNIQUE (key, writer, number, token, sender)
);
PRAGMA user_version = {_VERSION};
"""
_FROM_VERSION_3 = "ALTER TABLE entry ADD COLUMN earlier INTEGER NOT NULL DEFAULT 0"

_T = TypeVar("_T")

_log = logging.getLogger(__name__)


class SpoolDatabase(ForkSafe):
    """A database that several threads and processes can share.

    The file is open only during a transaction: SQLite keeps the locks of a process in its memory,
    so a forked child that inherits an open file would treat them as its own.

    :param path: path of the file.
    :param megabytes: maximum size of the file.
    """

    def __init__(self, path: Path, megabytes: int) -> None:
        self.path = path
        self._megabytes = megabytes
        self._in_transaction = self._forked_in_transaction = False
        # Inodes of the file that was opened last, and of the file that was checked.
        self._opened_inode = self._checked_inode = 0
        super().__init__()
        self.enter()
        self._locked_for_fork = False
        around_fork(before=self._before_fork, after_in_parent=self._after_fork_in_parent)

    def run_transaction(
        self,
        work: Callable[[sqlite3.Connection], _T],
        *,
        adds: bool = False,
        wait: float | None = None,
    ) -> _T:
        """Run a function in a transaction, which is durable when this returns.

        :param adds: whether the function adds rows, which fails if the file is full.
        :param wait: seconds to wait for other threads and processes; by default
            :data:`BUSY_TIMEOUT`.
        :raises SpoolError: the file is full, locked for too long, or cannot be read or written.
        """
        self.enter()
        if self._forked_in_transaction:
            raise SpoolError(
                f"the spool {self.path} cannot be used in this process: it was forked in C in the "
                "middle of a write; load the app after the fork (uWSGI: --lazy-apps)"
            )
        deadline = time.monotonic() + (BUSY_TIMEOUT if wait is None else wait)
        if not self._lock.acquire(timeout=_seconds_left(deadline)):
            raise SpoolError(f"the spool {self.path} is busy: another thread writes to it")
        try:
            self._in_transaction = True
            return self._run_with_recovery(work, adds, deadline)
        finally:
            self._in_transaction = False
            self._lock.release()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        # A fork during a transaction copies SQLite's locks, and perhaps a locked mutex.
        self._forked_in_transaction = self._forked_in_transaction or self._in_transaction
        self._in_transaction = False

    def _before_fork(self) -> None:
        # os.fork() waits for the end of a transaction.
        if self._lock.acquire(timeout=BUSY_TIMEOUT):
            self._locked_for_fork = True

    def _after_fork_in_parent(self) -> None:
        if self._locked_for_fork:
            self._locked_for_fork = False
            self._lock.release()

    def _run_with_recovery(
        self, work: Callable[[sqlite3.Connection], _T], adds: bool, deadline: float
    ) -> _T:
        retried = False
        while True:
            try:
                with (
                    closing(self._connect(deadline)) as database,
                    self._transaction(database, adds),
                ):
                    return work(database)
            except (sqlite3.OperationalError, sqlite3.IntegrityError) as error:
                raise SpoolError(f"the spool {self.path} failed: {error}") from error
            except sqlite3.DatabaseError as error:
                if retried:
                    raise SpoolError(f"the spool {self.path} is corrupt: {error}") from error
                self._quarantine(error, deadline)
                retried = True

    @contextmanager
    def _transaction(self, database: sqlite3.Connection, adds: bool) -> Iterator[None]:
        (size,) = database.execute("PRAGMA page_size").fetchone()
        # The spare pages are only for deleting.
        pages = self._megabytes * 1024 * 1024 // size + (0 if adds else SPARE_PAGES)
        database.execute(f"PRAGMA max_page_count = {pages}")
        database.execute("BEGIN IMMEDIATE")
        try:
            yield
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise

    def _connect(self, deadline: float) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=_seconds_left(deadline), isolation_level=None)
        try:
            self._opened_inode = self.path.stat().st_ino
            # Not WAL, which is checkpointed each time the last process closes it.
            database.execute("PRAGMA journal_mode = TRUNCATE")
            database.execute("PRAGMA synchronous = FULL")
            # Not SQLite's random generator, whose state a forked process copies.
            database.create_function("new_id", 0, lambda: secrets.token_hex(8))
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version != _VERSION or self._opened_inode != self._checked_inode:
                (sound,) = database.execute("PRAGMA quick_check(1)").fetchone()
                if sound != "ok" or version not in (0, 3, _VERSION):
                    raise sqlite3.DatabaseError(f"{sound}, version {version}")
                if version == 3:
                    database.execute(_FROM_VERSION_3)
                database.executescript(_SCHEMA)
                self._checked_inode = self._opened_inode
        except BaseException:
            database.close()
            raise
        return database

    def _is_current(self) -> bool:
        try:
            return self.path.stat().st_ino == self._opened_inode
        except FileNotFoundError:
            return False

    @contextmanager
    def _quarantine_lock(self, deadline: float) -> Iterator[None]:
        """Lock against other processes that quarantine the file."""
        with self.path.with_suffix(".lock").open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise SpoolError(f"{lock.name} is locked by another process") from error
                    time.sleep(LOCK_RETRY_DELAY)
            yield

    def _quarantine(self, error: sqlite3.DatabaseError, deadline: float) -> None:
        """Rename a corrupt file, unless another process has already done so."""
        with self._quarantine_lock(deadline):
            if not self._is_current():
                return
            quarantined = f"{self.path}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
            for end in ("", "-journal"):
                with suppress(FileNotFoundError):
                    Path(f"{self.path}{end}").replace(f"{quarantined}{end}")
        _log.critical(
            "the spool was corrupt (%s); it was renamed to %s, and its hits are NOT counted; "
            "a new spool takes its place",
            error,
            quarantined,
        )


def _seconds_left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())
