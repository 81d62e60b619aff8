"""The file of the spool: one SQLite database, synced at each commit, set aside when corrupt."""

from __future__ import annotations

import fcntl
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from .errors import SpoolError
from .forks import around_fork

#: Seconds to wait for another process that is writing.
BUSY_TIMEOUT = 2.0

#: Pages of the file, of 4 KiB, that are kept for emptying it when it is full.
SPARE_PAGES = 64

_VERSION = 2
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS entry (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL,           -- of the counter, in the store
    writer TEXT NOT NULL,        -- '' while hits may still be added
    number INTEGER NOT NULL,     -- of the batch; the hour, while hits may still be added
    token TEXT NOT NULL,         -- '' where there is none
    amount INTEGER NOT NULL,
    hits INTEGER NOT NULL,
    hour TEXT NOT NULL,          -- that the hits count in
    sent REAL,                   -- when it was first sent, seconds since 1970; NULL: never
    UNIQUE (key, writer, number, token)
);
PRAGMA user_version = {_VERSION};
"""

_T = TypeVar("_T")

_log = logging.getLogger(__name__)


class SpoolFile:
    """A database for all threads and processes that name the same file.

    :param path: where it lies.
    :param megabytes: how large it may grow.
    """

    def __init__(self, path: Path, megabytes: int) -> None:
        self.path = path
        self._megabytes = megabytes
        self._lock = threading.RLock()
        self._database: sqlite3.Connection | None = None
        self._inode = 0
        self._pages = 0
        # SQLite remembers the locks that a process holds on a file, and a forked child would
        # believe that they are its own: there must be none, and no open file, when it is forked.
        around_fork(before=self._prepare, after=self._resume)

    def _prepare(self) -> None:
        self._lock.acquire()
        self.close()

    def _resume(self) -> None:
        self._lock.release()

    def transact(self, work: Callable[[sqlite3.Connection], _T], *, adds: bool = False) -> _T:
        """Do some work in a transaction, durable when this returns.

        :param adds: whether it makes the file larger, and is refused when that is full.
        :raises SpoolError: the file is full, locked for too long, or cannot be read or written.
        """
        with self._lock:
            again = False
            while True:
                try:
                    with self._transaction(adds) as database:
                        return work(database)
                except (sqlite3.OperationalError, sqlite3.IntegrityError) as error:
                    raise SpoolError(f"the spool {self.path} does not work: {error}") from error
                except sqlite3.DatabaseError as error:
                    if again:
                        raise SpoolError(f"the spool {self.path} is corrupt: {error}") from error
                    self._set_aside(error)
                    again = True

    def close(self) -> None:
        """Close the file; it is opened anew when it is needed."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    @contextmanager
    def _transaction(self, adds: bool) -> Iterator[sqlite3.Connection]:
        if self._database is not None and not self._is_current():
            self.close()  # another process has set it aside
        database = self._database = self._database or self._open()
        # Room to empty it that nothing which is added may take.
        pages = self._pages if adds else self._pages + SPARE_PAGES
        database.execute(f"PRAGMA max_page_count = {pages}")
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        try:
            self._inode = self.path.stat().st_ino
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            (size,) = database.execute("PRAGMA page_size").fetchone()
            self._pages = self._megabytes * 1024 * 1024 // size
            (version,) = database.execute("PRAGMA user_version").fetchone()
            (sound,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if sound != "ok" or version not in (0, _VERSION):
                raise sqlite3.DatabaseError(f"{sound}, version {version}")
            database.executescript(_SCHEMA)
        except BaseException:
            database.close()
            raise
        return database

    def _is_current(self) -> bool:
        try:
            return self.path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        """Move a corrupt file out of the way, unless another process has done so already."""
        self.close()
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self._is_current():
                return
            aside = f"{self.path}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
            for end in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    Path(f"{self.path}{end}").replace(f"{aside}{end}")
        _log.critical(
            "the spool was corrupt (%s); it was set aside as %s, and the hits that it held are "
            "NOT counted; a new one takes its place",
            error,
            aside,
        )
