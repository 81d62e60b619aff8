"""Listening sockets: TCP ports that are not shared with others, and Unix sockets."""

import os
import socket
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import pytest

from flask_redis_counter.errors import CounterError
from flask_redis_counter.testing.stacks.process import free_port
from flask_redis_counter.web.server.listeners import (
    BACKLOG,
    MAX_UNIX_PATH,
    UNIX_SOCKET_MODE,
    listen_tcp,
    listen_unix,
)

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Linux balances SO_REUSEPORT")


def resolve_to(monkeypatch, *addresses):
    """Let each host name have these addresses."""
    kinds = {True: socket.AF_INET6, False: socket.AF_INET}

    def getaddrinfo(host, port, *_, **__):
        return [(kinds[":" in one], socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def connect(address, port):
    """Return a connection to an address, which is not resolved."""
    client = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    client.connect((address, port))
    return client


def accepted(listener):
    """Accept the connections that wait, and return how many there were."""
    for number in range(BACKLOG):
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return number
    return BACKLOG


@contextmanager
def occupied(family=socket.AF_INET, host="127.0.0.1", *, shared=False):
    """Listen on a port as another server."""
    with socket.socket(family) as other:
        if shared:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind((host, 0))
        other.listen()
        yield other.getsockname()[1]


@LINUX
def test_connections_are_distributed():
    """Each worker has a socket of its own, and gets a share of the connections."""
    port = free_port()
    with listen_tcp("127.0.0.1", port, 4) as listeners, ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        counts = [accepted(listener) for (listener,) in listeners.slots]
    assert sum(counts) == 400
    assert min(counts) > 50


@LINUX
def test_close_keeps_the_sockets_of_other_processes():
    """A socket that another process has keeps its connections after this one closed it."""
    port = free_port()
    with listen_tcp("127.0.0.1", port, 2) as listeners:
        copy = listeners.slots[0][0].dup()
        listeners.close()
        with copy, socket.create_connection(("127.0.0.1", port)):
            assert accepted(copy) == 1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@LINUX
def test_keep_only():
    """A worker keeps its own sockets, and closes the others."""
    with listen_tcp("127.0.0.1", free_port(), 3) as listeners:
        (kept,) = listeners.keep_only(1)
        assert [one.fileno() > 0 for (one,) in listeners.slots] == [False, True, False]
        assert listeners.slots[1] == [kept]
    with listen_tcp("127.0.0.1", free_port(), 1) as listeners:
        assert listeners.keep_only(0)[0].fileno() > 0


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("shared", [False, True])
def test_port_in_use(workers, shared):
    """A port in use is an error, also if the other server would share it."""
    with occupied(shared=shared) as port, pytest.raises(CounterError) as caught:
        listen_tcp("127.0.0.1", port, workers)
    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1:{port}: it is in use; --port chooses another"
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::"])
def test_second_server(host):
    """A second server of the same user does not share the port, whatever address it asks for."""
    port = free_port()
    with listen_tcp("127.0.0.1", port, 2), pytest.raises(CounterError, match="it is in use"):
        listen_tcp(host, port, 2)


def test_simultaneous_starts():
    """Of servers that start at the same time on one port, one listens."""

    def start(port):
        try:
            return listen_tcp("127.0.0.1", port, 2)
        except CounterError:
            return None

    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            listening = [one for one in pool.map(start, [free_port()] * 8) if one]
            for one in listening:
                one.close()
            assert len(listening) == 1


def test_restart():
    """A port whose last connections are in TIME_WAIT can be used at once."""
    port = free_port()
    with listen_tcp("127.0.0.1", port, 1) as listeners:
        client = socket.create_connection(("127.0.0.1", port))
        listeners.slots[0][0].accept()[0].close()  # closed by the server first
        client.close()
    listen_tcp("127.0.0.1", port, 2).close()


def test_host_name_with_several_addresses(monkeypatch):
    """Each address of a host name has its sockets, an address that is listed twice as well."""
    resolve_to(monkeypatch, "127.0.0.1", "::1", "127.0.0.1")
    port = free_port()
    with listen_tcp("localhost", port, 2) as listeners:
        assert [len(slot) for slot in listeners.slots] == [2, 2]
        for address in ("127.0.0.1", "::1"):
            connect(address, port).close()
        assert sum(accepted(one) for slot in listeners.slots for one in slot) == 2


@pytest.mark.parametrize("order", [("127.0.0.1", "2001:db8::1"), ("2001:db8::1", "127.0.0.1")])
def test_address_of_another_machine_is_left_out(monkeypatch, order):
    """An address that this machine does not have is left out, such as ::1 in many containers."""
    resolve_to(monkeypatch, *order)
    with listen_tcp("localhost", free_port(), 2) as listeners:
        assert [one.family for slot in listeners.slots for one in slot] == [socket.AF_INET] * 2


def test_wildcard_of_ipv6_includes_ipv4():
    """`::` is all addresses, whatever the system's default is."""
    port = free_port()
    with listen_tcp("::", port, 1) as listeners:
        for address in ("127.0.0.1", "::1"):
            connect(address, port).close()
        assert accepted(listeners.slots[0][0]) == 2


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("192.0.2.1", "Cannot assign requested address"),
        ("no-such-host.invalid", "Name or service not known|Temporary failure|No address"),
        ("a" * 300, "it is not a host name"),
    ],
)
def test_unusable_host(host, said):
    """A host without an address of this machine is one clear line."""
    port = free_port()
    with pytest.raises(CounterError, match=f"^cannot listen on {host}:{port}: ({said})"):
        listen_tcp(host, port, 2)


def test_unix_socket(tmp_path):
    """Clients of any user may connect; workers share the socket; the file is removed."""
    path = tmp_path / "socket"
    umask = os.umask(0o077)
    try:
        with listen_unix(path, 3) as listeners:
            assert stat.S_IMODE(path.stat().st_mode) == UNIX_SOCKET_MODE
            (shared,), *others = listeners.slots
            assert others == [[shared], [shared]]
            assert listeners.keep_only(1) == [shared]
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                assert accepted(shared) == 1
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(umask)
    assert not path.exists()


def test_stale_unix_socket_is_replaced(tmp_path):
    """The socket file of a server that was killed is replaced."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    with listen_unix(path, 1) as listeners, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert accepted(listeners.slots[0][0]) == 1


def test_unix_socket_in_use(tmp_path):
    """A server that listens is an error, also if its backlog is full; its file stays."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as other, ExitStack() as stack:
        other.bind(str(path))
        other.listen(0)
        with pytest.raises(CounterError, match="it is in use; stop that server, or choose"):
            listen_unix(path, 1)
        with suppress(BlockingIOError):
            for _ in range(BACKLOG):
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(path))
            pytest.fail("the backlog is not full")
        with pytest.raises(CounterError, match="it is in use"):
            listen_unix(path, 1)
        assert path.is_socket()


def test_simultaneous_starts_on_a_unix_socket(tmp_path):
    """Of servers that find a stale file at the same time, one listens, and keeps its file."""

    def start(path):
        try:
            return listen_unix(path, 2)
        except CounterError:
            return None

    with ThreadPoolExecutor(8) as pool:
        for number in range(20):
            path = tmp_path / f"socket{number}"
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(str(path))
            (listening,) = [one for one in pool.map(start, [path] * 8) if one]
            with listening, socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                # The others have connected as well, to find out whether it is in use.
                assert accepted(listening.slots[0][0]) == 8


@pytest.mark.parametrize("kind", ["file", "folder", "link", "pipe"])
def test_other_files_are_not_removed(tmp_path, kind):
    """A path that is not a socket is an error, and stays."""
    path = tmp_path / "it"
    if kind == "file":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("nowhere")
    else:
        os.mkfifo(path)
    before = path.lstat()
    with pytest.raises(CounterError, match="exists and is not a socket; --unix chooses another"):
        listen_unix(path, 1)
    assert path.lstat() == before


@pytest.mark.parametrize("parent", ["missing", "file"])
def test_unix_socket_without_a_folder(tmp_path, parent):
    """A missing folder is one clear line."""
    (tmp_path / "file").touch()
    with pytest.raises(CounterError, match="directory; check its folder, or choose another path"):
        listen_unix(tmp_path / parent / "socket", 1)


def test_length_of_a_unix_socket_path(tmp_path, monkeypatch):
    """The longest path works, and one more byte is one clear line; so is a relative path."""
    monkeypatch.chdir(tmp_path)
    longest = "x" * (MAX_UNIX_PATH - len(str(tmp_path)) - 1)
    listen_unix(tmp_path / longest, 1).close()
    for path in (tmp_path / f"{longest}x", tmp_path.relative_to(tmp_path) / f"{longest}x"):
        with pytest.raises(CounterError, match=f"longer than {MAX_UNIX_PATH} bytes; choose"):
            listen_unix(path, 1)


def test_file_of_another_server_is_not_removed(tmp_path):
    """A socket file that another server has put in the same place stays."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as other:
        with listen_unix(path, 1) as listeners:
            path.rename(tmp_path / "moved")
            other.bind(str(path))
        assert path.is_socket()
        path.unlink()
        listeners.close()
