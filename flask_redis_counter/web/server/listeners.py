"""Listening sockets of the worker processes: TCP, or one Unix socket."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeAlias

from ...errors import CounterError

#: Maximum connections that wait to be accepted, for each listening socket.
BACKLOG = 1024

#: Mode of the Unix socket: a proxy that runs as another user has to connect. The permissions of
#: its folder limit who can reach it.
UNIX_SOCKET_MODE = 0o666

#: Maximum bytes of a Unix socket's path: ``sun_path`` without the final zero byte.
MAX_UNIX_PATH = 107 if sys.platform == "linux" else 103

# Linux distributes connections among the sockets that share a port. Other systems give all of them
# to one socket, so that the workers have to share it.
_BALANCES_PORT = sys.platform == "linux"

# Errors of an address that a host name has and this machine does not: often ::1 in containers.
_ADDRESS_MISSING = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

# Family, and address of a socket.
_SocketAddress: TypeAlias = tuple[socket.AddressFamily, Any]


class Listeners:
    """Listening sockets, by the slot of the worker process that accepts from them.

    The parent keeps them open as long as it serves: connections that a dead worker has not
    accepted wait for its replacement, which gets the same sockets.

    :ivar slots: the sockets of each slot. Slots may have sockets in common.
    """

    def __init__(self, slots: list[list[socket.socket]], path: Path | None = None) -> None:
        self.slots = slots
        self._path = path
        self._identity = None if path is None else _identity(path)

    def keep_only(self, slot: int) -> list[socket.socket]:
        """Close the sockets of the other slots in this process, and return those of this slot.

        A worker calls it: a socket that another process holds accepts connections even after its
        own worker has closed it.
        """
        kept = self.slots[slot]
        for other in self._sockets():
            if other not in kept:
                other.close()
        return kept

    def close(self) -> None:
        """Close all sockets in this process, and remove the file of the Unix socket."""
        if self._path is not None and self._identity == _identity(self._path):
            with suppress(OSError):
                self._path.unlink()
        self._path = None  # a later call must not remove the file of another server
        for listener in self._sockets():
            listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _sockets(self) -> Iterator[socket.socket]:
        for slot in self.slots:
            yield from slot


def listen_tcp(host: str, port: int, workers: int) -> Listeners:
    """Listen on all addresses of a host, with sockets of its own for each worker.

    Linux chooses one of the sockets for each connection by a hash of its addresses
    (``SO_REUSEPORT``). On other systems the workers share one socket for each address.

    :param host: a name or an address; ``::`` includes IPv4.
    :param port: 1 to 65535.
    :raises CounterError: the host has no address here, or the port is in use.
    """
    with ExitStack() as opened:
        slots: list[list[socket.socket]] = [[] for _ in range(workers)]
        try:
            missing: OSError | None = None
            for address in _resolve(host, port):
                is_dual = host == "::"
                try:
                    first = opened.enter_context(_listen_exclusively(address, is_dual=is_dual))
                except OSError as error:
                    if error.errno not in _ADDRESS_MISSING:
                        raise
                    missing = error
                    continue
                slots[0].append(first)
                for slot in slots[1:]:
                    slot.append(
                        opened.enter_context(_share_port(first, address, is_dual=is_dual))
                        if _BALANCES_PORT
                        else first
                    )
            if missing is not None and not slots[0]:
                raise missing
        except (OSError, UnicodeError) as error:
            raise CounterError(f"cannot listen on {host}:{port}: {_explain(error)}") from error
        opened.pop_all()
    return Listeners(slots)


def listen_unix(path: Path, workers: int) -> Listeners:
    """Listen on one Unix socket, which all workers share.

    The socket file of a server that is not running any more is replaced.

    :raises CounterError: a server listens there, the path is another kind of file, is too long,
        or cannot be created.
    """
    path = path.absolute()
    if len(os.fsencode(path)) > MAX_UNIX_PATH:
        raise CounterError(
            f"cannot listen on {str(path)!r}: the path is longer than {MAX_UNIX_PATH} bytes; "
            "choose a shorter one"
        )
    with ExitStack() as opened:
        listener = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        try:
            with _locked(path.parent):
                _remove_stale(path)
                _bind_unix(listener, path)
                listener.listen(BACKLOG)
        except OSError as error:
            raise CounterError(
                f"cannot listen on {str(path)!r}: {error.strerror}; check its folder, or choose "
                "another path with --unix"
            ) from error
        listener.setblocking(False)
        opened.pop_all()
    return Listeners([[listener]] * workers, path)


def _resolve(host: str, port: int) -> list[_SocketAddress]:
    """Return each address of a host once."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _explain(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return "it is not a host name"
    if error.errno == errno.EADDRINUSE:
        return "it is in use; --port chooses another"
    return error.strerror or str(error)


def _bind_tcp(address: _SocketAddress, *, is_dual: bool, shares_port: bool) -> socket.socket:
    family, name = address
    with ExitStack() as opened:
        listener = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shares_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # The system's default differs, and a host name has its IPv4 addresses beside.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not is_dual)
        listener.bind(name)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        opened.pop_all()
    return listener


def _listen_exclusively(address: _SocketAddress, *, is_dual: bool) -> socket.socket:
    # A first socket with SO_REUSEPORT would silently share the port with another server of the same
    # user. Without the option only one socket can listen; with it set afterwards, others may join.
    listener = _bind_tcp(address, is_dual=is_dual, shares_port=False)
    if _BALANCES_PORT:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return listener


def _share_port(first: socket.socket, address: _SocketAddress, *, is_dual: bool) -> socket.socket:
    return _bind_tcp((address[0], first.getsockname()), is_dual=is_dual, shares_port=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other servers from replacing a socket file in this folder at the same time."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # a folder may be writable without being readable
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    """Remove the socket file of a server that is not running any more."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CounterError(
            f"cannot listen on {str(path)!r}: it exists and is not a socket; --unix chooses another"
        )
    if _has_listener(path):
        raise CounterError(
            f"cannot listen on {str(path)!r}: it is in use; stop that server, or choose another "
            "path with --unix"
        )
    path.unlink()


def _has_listener(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a full backlog raises BlockingIOError
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            return True
    return True


def _bind_unix(listener: socket.socket, path: Path) -> None:
    # bind() applies the umask; a chmod afterwards would let a client fail in between.
    umask = os.umask(0o777 & ~UNIX_SOCKET_MODE)
    try:
        listener.bind(str(path))
    finally:
        os.umask(umask)


def _identity(path: Path) -> tuple[int, int] | None:
    """Return the device and the inode of a file; None if it does not exist."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
