"""The file of a spool: durable, bounded, shared, and set aside when it is corrupt."""

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
    """A file of a megabyte."""
    return SpoolDatabase(tmp_path / "spool.sqlite3", 1)


def put(file, key="visits"):
    """Write a row down."""
    file.run_transaction(lambda database: database.execute(INSERT, (key,)), adds=True)


def keys(file):
    """Return what is written down."""
    return [key for (key,) in asked(file, "SELECT key FROM entry ORDER BY id")]


def asked(file, question):
    """Ask the database something."""
    return file.run_transaction(lambda database: database.execute(question).fetchall())


def set_aside(file):
    """Return what was set aside."""
    return sorted(file.path.parent.glob("*.corrupt-*Z"))


def test_what_a_commit_waits_for(file):
    """The disk, each time, for the rows and for the end of their journal."""
    assert asked(file, "PRAGMA synchronous") == [(2,)]
    assert asked(file, "PRAGMA journal_mode") == [("truncate",)]


def test_a_transaction_is_whole_or_nothing(file):
    """An error of the work is the caller's, and leaves nothing behind."""

    def work(database):
        database.execute(INSERT, ("half",))
        raise KeyError

    with pytest.raises(KeyError):
        file.run_transaction(work, adds=True)
    put(file, "whole")
    assert keys(file) == ["whole"]


def test_it_is_open_during_a_transaction_only(file):
    """A process that is copied in between has nothing of it."""

    def is_open(_database=None):
        links = Path("/proc/self/fd").iterdir()
        return any(link.readlink() == file.path for link in links if link.is_symlink())

    assert file.run_transaction(is_open)
    assert not is_open()


def test_a_file_that_others_have(file):
    """Two that name the same file see the same, and each waits for the other's transaction."""
    other = SpoolDatabase(file.path, 1)
    put(file, "a")
    put(other, "b")
    assert keys(file) == keys(other) == ["a", "b"]


def test_a_file_that_another_holds(file, monkeypatch):
    """Who holds it for too long makes an error, and no corrupt file."""
    monkeypatch.setattr("flask_redis_counter.spool.database.BUSY_TIMEOUT", 0.01)
    put(file)
    with closing(sqlite3.connect(file.path, isolation_level=None)) as another:
        another.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(SpoolError, match=r"spool\.sqlite3 does not work: .*locked") as caught:
            put(file)
        assert time.monotonic() - began < 4
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        another.execute("ROLLBACK")
    assert keys(file) == ["visits"]
    assert not set_aside(file)


def test_a_file_that_is_full(file):
    """It grows to its size and not further, and can be emptied and filled anew all the same."""

    def fill():
        for number in range(1000):
            put(file, f"{number}{'x' * 3000}")

    with pytest.raises(SpoolError, match="full"):
        fill()
    assert 0.9 < asked(file, "PRAGMA page_count")[0][0] * 4096 / 1024**2 <= 1
    # What empties it may need room of its own: pages for the change of an index.
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
def test_a_file_that_is_no_spool(file, caplog, content, reason):
    """It is set aside with all that belongs to it, and a new one takes its place."""
    if content is None:
        with closing(sqlite3.connect(file.path)) as database:
            database.execute("PRAGMA user_version = 99")
    else:
        file.path.write_bytes(content)
    put(file)
    assert keys(file) == ["visits"]
    (aside,) = set_aside(file)
    stamp = aside.name.removeprefix("spool.sqlite3.corrupt-")
    assert abs(time.mktime(time.strptime(stamp, "%Y%m%dT%H%M%SZ")) - time.time()) < 2 * 86400
    assert content is None or aside.read_bytes() == content
    (record,) = caplog.records
    assert record.levelname == "CRITICAL"
    assert record.message == (
        f"the spool was corrupt ({reason}); it was renamed to {aside}, and its hits are NOT "
        "counted; a new spool takes its place"
    )
    assert asked(file, "PRAGMA user_version") == [(3,)]


def test_what_belongs_to_a_corrupt_file(file):
    """What others have written goes with it, and is not taken for the new file's."""

    def corrupt(_database):
        if not set_aside(file):
            raise sqlite3.DatabaseError("malformed")

    put(file, "old")
    journal = file.path.with_name("spool.sqlite3-journal")
    journal.write_bytes(b"")
    file.run_transaction(corrupt)
    assert keys(file) == []
    (aside,) = set_aside(file)
    assert aside.with_name(f"{aside.name}-journal").exists()
    with closing(sqlite3.connect(aside)) as database:
        assert database.execute("SELECT key FROM entry").fetchall() == [("old",)]


def test_a_file_that_stays_corrupt(file, monkeypatch):
    """What a new file does not help is an error."""

    def corrupt(_database):
        raise sqlite3.DatabaseError("malformed")

    with pytest.raises(SpoolError, match=r"spool\.sqlite3 is corrupt: malformed") as caught:
        file.run_transaction(corrupt)
    assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)
    assert len(set_aside(file)) == 1


def test_a_file_that_another_has_set_aside(file):
    """Each finds the new one, and what the other has written there."""
    other = SpoolDatabase(file.path, 1)
    put(file, "old")
    put(other, "old, too")
    file.path.replace(f"{file.path}.aside")
    put(other, "new")
    assert keys(file) == ["new"]
    assert not set_aside(file)


def test_one_of_several_sets_it_aside(file):
    """Who comes second finds another file there, and leaves it where it is."""
    put(file, "old")

    def corrupt_for_both(database):
        if not set_aside(file):
            file.path.replace(f"{file.path}.corrupt-thenZ")
            other = SpoolDatabase(file.path, 1)
            put(other, "new")
            raise sqlite3.DatabaseError("malformed")
        return database.execute("SELECT key FROM entry").fetchall()

    assert file.run_transaction(corrupt_for_both) == [("new",)]
    assert [path.name for path in set_aside(file)] == ["spool.sqlite3.corrupt-thenZ"]


@contextmanager
def in_a_transaction(file):
    """Let another thread be in a transaction meanwhile."""
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
    """Do some work in a forked child, and return what it exits with."""
    child = fork()
    if child == 0:
        try:
            os._exit(work())
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fork_in_c():
    """Fork as uWSGI does, which Python does not hear of."""
    return ctypes.PyDLL(None).fork()


def told(file):
    """Return 0 where the file can be written, and 1 where its error says what to do."""
    try:
        put(file, "child")
    except SpoolError as error:
        return 1 if "forked in C" in str(error) and "--lazy-apps" in str(error) else 2
    return 0


def test_a_fork_in_c_between_transactions(file):
    """A child has nothing of its parent's, and writes as well."""
    put(file)
    assert exit_code(fork_in_c, lambda: told(file)) == 0
    assert keys(file) == ["visits", "child"]


def test_a_fork_in_c_in_a_transaction(file):
    """A child would have locks that are not its own: it is told so at once, each time."""
    with in_a_transaction(file):

        def work():
            return told(file) + exit_code(fork_in_c, lambda: told(file))

        assert exit_code(fork_in_c, work) == 2
    put(file)
    assert keys(file) == ["visits"]


@pytest.mark.filterwarnings("ignore:.*is multi-threaded")
def test_a_fork_of_pythons_in_a_transaction(file):
    """It waits for the end, so that the child can write; and parent and child both go on."""
    with in_a_transaction(file) as end:
        threading.Timer(0.05, end.set).start()
        assert exit_code(os.fork, lambda: told(file)) == 0
    put(file)
    assert keys(file) == ["child", "visits"]


def test_a_fork_of_which_the_hooks_run_in_part(file, monkeypatch):
    """Whichever runs alone: parent and child go on, or are told in time."""
    file._after_fork_in_parent()
    put(file)
    file._before_fork()
    with pytest.raises(SpoolError, match="is busy: another thread"):
        file.run_transaction(lambda _: None, wait=0.01)
    assert exit_code(fork_in_c, lambda: told(file)) == 0
    file._after_fork_in_parent()
    monkeypatch.setattr("flask_redis_counter.spool.database.BUSY_TIMEOUT", 0.01)
    with in_a_transaction(file):
        file._before_fork()
        file._after_fork_in_parent()
    assert keys(file) == ["visits", "child"]


def test_a_thread_that_is_slow(file):
    """Who waits for it hears of it in time."""
    with in_a_transaction(file), pytest.raises(SpoolError, match="is busy: another thread"):
        file.run_transaction(lambda _: None, wait=0.01)


def test_a_lock_that_nobody_lets_go(file):
    """A corrupt file that cannot be set aside is an error, in time."""

    def corrupt(_database):
        raise sqlite3.DatabaseError("malformed")

    with file.path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SpoolError, match=r"spool\.lock is locked by another process"):
            file.run_transaction(corrupt, wait=0.05)
    assert not set_aside(file)


def test_a_mistake_of_ours_costs_no_hits(file):
    """A row that the table does not take is an error, and no reason to set the others aside."""
    put(file)
    with pytest.raises(SpoolError, match="does not work: UNIQUE constraint failed"):
        put(file)
    assert keys(file) == ["visits"]
    assert set_aside(file) == []
