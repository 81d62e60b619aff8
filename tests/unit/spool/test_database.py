"""SpoolDatabase: durable, bounded, shared, and set aside when it is corrupt."""

import ctypes
import fcntl
import os
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from flask_redis_counter.errors import SpoolError
from flask_redis_counter.spool.database import SpoolDatabase

INSERT = "INSERT INTO entry (key, writer, number, token, sender, amount, hits, hour) "
INSERT += "VALUES (?, 'w', 0, '', '', 1, 1, '2026-11-23T15')"


@pytest.fixture
def file(tmp_path):
    """A spool file of up to a megabyte."""
    return SpoolDatabase(tmp_path / "spool.sqlite3", 1)


def put(file, key="visits"):
    """Insert a row."""
    file.run_transaction(lambda database: database.execute(INSERT, (key,)), adds=True)


def keys(file):
    """Return the keys of all rows."""
    return [key for (key,) in query(file, "SELECT key FROM entry ORDER BY id")]


def query(file, sql):
    """Return the rows of a query."""
    return file.run_transaction(lambda database: database.execute(sql).fetchall())


def corrupt_files(file):
    """Return the files that were set aside."""
    return sorted(file.path.parent.glob("*.corrupt-*Z"))


def test_file_of_the_last_version_is_converted(file):
    """The rows of a file of version 3 stay, and follow no earlier call."""
    put(file)
    with closing(sqlite3.connect(file.path)) as database:
        database.execute("ALTER TABLE entry DROP COLUMN earlier")
        database.execute("PRAGMA user_version = 3")
    assert query(file, "SELECT key, earlier FROM entry") == [("visits", 0)]
    put(file, "others")
    assert query(file, "PRAGMA user_version") == [(4,)]
    assert keys(file) == ["visits", "others"]
    assert corrupt_files(file) == []


def test_commit_waits_for_the_disk(file):
    """Each commit syncs the rows and the end of their journal to the disk."""
    assert query(file, "PRAGMA synchronous") == [(2,)]
    assert query(file, "PRAGMA journal_mode") == [("truncate",)]


def test_run_transaction_rolls_back_on_an_error(file):
    """An error of the work is raised to the caller, and none of its rows are kept."""

    def work(database):
        database.execute(INSERT, ("half",))
        raise KeyError

    with pytest.raises(KeyError):
        file.run_transaction(work, adds=True)
    put(file, "whole")
    assert keys(file) == ["whole"]


def test_file_is_open_during_a_transaction_only(file):
    """A process that is forked between transactions inherits no file descriptor."""

    def is_open(_database=None):
        links = Path("/proc/self/fd").iterdir()
        return any(link.readlink() == file.path for link in links if link.is_symlink())

    assert file.run_transaction(is_open)
    assert not is_open()


def test_two_databases_share_a_file(file):
    """Two databases on one file see the same rows, and wait for each other's transactions."""
    other = SpoolDatabase(file.path, 1)
    put(file, "a")
    put(other, "b")
    assert keys(file) == keys(other) == ["a", "b"]


def test_locked_file_raises_in_time(file, monkeypatch):
    """A lock held too long is a SpoolError, and the file is not set aside as corrupt."""
    monkeypatch.setattr("flask_redis_counter.spool.database.BUSY_TIMEOUT", 0.01)
    put(file)
    with closing(sqlite3.connect(file.path, isolation_level=None)) as another:
        another.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(SpoolError, match=r"spool\.sqlite3 failed: .*locked") as caught:
            put(file)
        assert time.monotonic() - began < 4
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        another.execute("ROLLBACK")
    assert keys(file) == ["visits"]
    assert not corrupt_files(file)


def test_full_file_can_be_emptied_and_refilled(file):
    """The file grows up to its size, and can be emptied and filled again."""

    def fill():
        for number in range(1000):
            put(file, f"{number}{'x' * 3000}")

    with pytest.raises(SpoolError, match="full"):
        fill()
    assert 0.9 < query(file, "PRAGMA page_count")[0][0] * 4096 / 1024**2 <= 1
    # A statement that empties it may need pages of its own, for the change of an index.
    longer = "UPDATE entry SET key = key || hex(zeroblob(1000)) WHERE id <= 10"
    with pytest.raises(SpoolError, match="full"):
        file.run_transaction(lambda database: database.execute(longer), adds=True)
    file.run_transaction(lambda database: database.execute(longer))
    file.run_transaction(lambda database: database.execute("DELETE FROM entry"))
    put(file)
    assert keys(file) == ["visits"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no database at all" * 1000, "file is not a database"),
        (None, "ok, version 99"),
    ],
    ids=["text", "another version"],
)
def test_invalid_file_is_set_aside(file, caplog, content, reason):
    """A file of other content or another version is renamed, and a new one is created."""
    if content is None:
        with closing(sqlite3.connect(file.path)) as database:
            database.execute("PRAGMA user_version = 99")
    else:
        file.path.write_bytes(content)
    put(file)
    assert keys(file) == ["visits"]
    (aside,) = corrupt_files(file)
    stamp = aside.name.removeprefix("spool.sqlite3.corrupt-")
    assert abs(time.mktime(time.strptime(stamp, "%Y%m%dT%H%M%SZ")) - time.time()) < 2 * 86400
    assert content is None or aside.read_bytes() == content
    (record,) = caplog.records
    assert record.levelname == "CRITICAL"
    assert record.message == (
        f"the spool was corrupt ({reason}); it was renamed to {aside}, and its hits are NOT "
        "counted; a new spool takes its place"
    )
    assert query(file, "PRAGMA user_version") == [(4,)]


def test_journal_of_a_corrupt_file_is_set_aside_with_it(file):
    """The journal is renamed with its file, so that it is not applied to the new file."""

    def corrupt(_database):
        if not corrupt_files(file):
            raise sqlite3.DatabaseError("malformed")

    put(file, "old")
    journal = file.path.with_name("spool.sqlite3-journal")
    journal.write_bytes(b"")
    file.run_transaction(corrupt)
    assert keys(file) == []
    (aside,) = corrupt_files(file)
    assert aside.with_name(f"{aside.name}-journal").exists()
    with closing(sqlite3.connect(aside)) as database:
        assert database.execute("SELECT key FROM entry").fetchall() == [("old",)]


def test_file_that_stays_corrupt_raises(file, monkeypatch):
    """A new file that is corrupt, too, is a SpoolError."""

    def corrupt(_database):
        raise sqlite3.DatabaseError("malformed")

    with pytest.raises(SpoolError, match=r"spool\.sqlite3 is corrupt: malformed") as caught:
        file.run_transaction(corrupt)
    assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)
    assert len(corrupt_files(file)) == 1


def test_file_replaced_by_another_process_is_reopened(file):
    """Each database uses the new file, with the rows that others have written there."""
    other = SpoolDatabase(file.path, 1)
    put(file, "old")
    put(other, "old, too")
    file.path.replace(f"{file.path}.aside")
    put(other, "new")
    assert keys(file) == ["new"]
    assert not corrupt_files(file)


def test_corrupt_file_is_set_aside_once(file):
    """A process that finds another file in place of the corrupt one leaves it there."""
    put(file, "old")

    def corrupt_for_both(database):
        if not corrupt_files(file):
            file.path.replace(f"{file.path}.corrupt-thenZ")
            other = SpoolDatabase(file.path, 1)
            put(other, "new")
            raise sqlite3.DatabaseError("malformed")
        return database.execute("SELECT key FROM entry").fetchall()

    assert file.run_transaction(corrupt_for_both) == [("new",)]
    assert [path.name for path in corrupt_files(file)] == ["spool.sqlite3.corrupt-thenZ"]


@contextmanager
def transaction_in_thread(file):
    """Keep another thread in a transaction meanwhile."""
    begun, end = threading.Event(), threading.Event()

    def work(_database):
        begun.set()
        end.wait(30)

    thread = threading.Thread(target=file.run_transaction, args=(work,))
    thread.start()
    begun.wait(30)
    yield end
    end.set()
    thread.join(30)


def exit_code(fork, work):
    """Run some work in a forked child, and return its exit code."""
    child = fork()
    if child == 0:
        try:
            os._exit(work())
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fork_in_c():
    """Fork as uWSGI does, without Python's fork hooks."""
    return ctypes.PyDLL(None).fork()


def write_status(file):
    """Return 0 if the file can be written, 1 if the error explains a fork in C, else 2."""
    try:
        put(file, "child")
    except SpoolError as error:
        return 1 if "forked in C" in str(error) and "--lazy-apps" in str(error) else 2
    return 0


def test_fork_in_c_between_transactions_can_write(file):
    """A child inherits nothing of its parent's transactions, and can write."""
    put(file)
    assert exit_code(fork_in_c, lambda: write_status(file)) == 0
    assert keys(file) == ["visits", "child"]


def test_fork_in_c_in_a_transaction_raises(file):
    """A child would inherit locks: each of its transactions raises an error at once."""
    with transaction_in_thread(file):

        def work():
            return write_status(file) + exit_code(fork_in_c, lambda: write_status(file))

        assert exit_code(fork_in_c, work) == 2
    put(file)
    assert keys(file) == ["visits"]


@pytest.mark.filterwarnings("ignore:.*is multi-threaded")
def test_python_fork_waits_for_a_transaction(file):
    """os.fork waits for the end of the transaction; then parent and child can write."""
    with transaction_in_thread(file) as end:
        threading.Timer(0.05, end.set).start()
        assert exit_code(os.fork, lambda: write_status(file)) == 0
    put(file)
    assert keys(file) == ["child", "visits"]


def test_fork_hooks_that_run_in_part_do_not_hang(file, monkeypatch):
    """With only some fork hooks run, parent and child write or raise an error in time."""
    file._after_fork_in_parent()
    put(file)
    file._before_fork()
    with pytest.raises(SpoolError, match="is busy: another thread"):
        file.run_transaction(lambda _: None, wait=0.01)
    assert exit_code(fork_in_c, lambda: write_status(file)) == 0
    file._after_fork_in_parent()
    monkeypatch.setattr("flask_redis_counter.spool.database.BUSY_TIMEOUT", 0.01)
    with transaction_in_thread(file):
        file._before_fork()
        file._after_fork_in_parent()
    assert keys(file) == ["visits", "child"]


def test_run_transaction_raises_if_another_thread_is_slow(file):
    """A transaction that waits too long for another thread raises an error."""
    with transaction_in_thread(file), pytest.raises(SpoolError, match="is busy: another thread"):
        file.run_transaction(lambda _: None, wait=0.01)


def test_corrupt_file_with_a_held_lock_raises(file):
    """A corrupt file that cannot be set aside in time is a SpoolError."""

    def corrupt(_database):
        raise sqlite3.DatabaseError("malformed")

    with file.path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SpoolError, match=r"spool\.lock is locked by another process"):
            file.run_transaction(corrupt, wait=0.05)
    assert not corrupt_files(file)


def test_constraint_error_does_not_set_the_file_aside(file):
    """A row that violates a constraint is an error; the other rows are kept."""
    put(file)
    with pytest.raises(SpoolError, match="failed: UNIQUE constraint failed"):
        put(file)
    assert keys(file) == ["visits"]
    assert corrupt_files(file) == []
