"""The proxy injects network faults, in this process and as a script."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from flask_redis_counter.testing import Proxy, wait_until
from flask_redis_counter.testing.stacks import proxy as proxy_module
from flask_redis_counter.testing.stacks.process import free_port
from flask_redis_counter.testing.stacks.proxy import RemoteProxy


class Echo:
    """An echo server that records the data it gets."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    self.got.append(data)
                    connection.sendall(data)
            except OSError:
                return

    def close(self) -> None:
        """Stop accepting connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    """An echo server behind the proxy."""
    server = Echo()
    yield server
    server.close()


@pytest.fixture(params=["in process", "as a script"])
def proxy(echo, request) -> Iterator[tuple[int, Proxy | RemoteProxy]]:
    """The port of a proxy, and its control."""
    if request.param == "in process":
        made = Proxy([echo.port])
        yield made.port, made
        made.close()
        return
    port, control = free_port(), free_port()
    options = ["--listen", str(port), "--control", str(control), f"127.0.0.1:{echo.port}"]
    with subprocess.Popen([sys.executable, proxy_module.__file__, *options]) as running:
        try:
            wait_until(lambda: dial(control).close() is None, what="the script")
            yield port, RemoteProxy("127.0.0.1", control)
        finally:
            running.kill()


def dial(port: int) -> socket.socket:
    """Return a connection to a port."""
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def ask(connection: socket.socket, data: bytes = b"ping") -> bytes:
    """Send data, and return the echo."""
    connection.sendall(data)
    got = b""
    while len(got) < len(data) and (more := connection.recv(65536)):
        got += more
    return got


def is_silent(connection: socket.socket) -> bool:
    """Return whether neither data nor an end arrives."""
    connection.settimeout(0.2)
    try:
        return connection.recv(1) == b"never"
    except TimeoutError:
        return True
    finally:
        connection.settimeout(5)


def test_forwards_without_fault(proxy):
    """Large and small messages pass, on several connections."""
    port, _ = proxy
    with dial(port) as one, dial(port) as other:
        assert ask(one) == b"ping"
        assert ask(other, bytes(300_000)) == bytes(300_000)
        assert ask(one) == b"ping"


def test_latency(proxy):
    """Requests and responses are each delayed by that time."""
    port, control = proxy
    with dial(port) as one:
        control.inject("latency", 0.1)
        began = time.monotonic()
        assert ask(one) == b"ping"
        assert 0.2 <= time.monotonic() - began < 1
        control.clear()
        began = time.monotonic()
        assert ask(one) == b"ping"
        assert time.monotonic() - began < 0.15


def test_bandwidth_limited(proxy):
    """The limit is bytes a second, in both directions at the same time."""
    port, control = proxy
    with dial(port) as one:
        control.inject("bandwidth_limited", 20_000)
        began = time.monotonic()
        assert ask(one, bytes(6000)) == bytes(6000)
        assert 0.3 <= time.monotonic() - began < 2
        control.clear()
        assert ask(one) == b"ping"


def test_connections_reset(proxy, echo):
    """Open and new connections are reset; no data arrives."""
    port, control = proxy
    with dial(port) as one:
        assert ask(one) == b"ping"
        control.inject("connections_reset")
        with pytest.raises(ConnectionResetError):
            ask(one)
    for _ in range(3):
        with pytest.raises(OSError, match=r"reset|Broken pipe"), dial(port) as another:
            ask(another)
    assert echo.got == [b"ping"]
    control.clear()
    with dial(port) as one:
        assert ask(one) == b"ping"


def test_half_open(proxy, echo):
    """Open connections stay silent, as behind a dead peer; new ones work."""
    port, control = proxy
    with dial(port) as one:
        assert ask(one) == b"ping"
        control.inject("half_open")
        one.sendall(b"lost")
        assert is_silent(one)
        with dial(port) as another:
            assert ask(another, b"pong") == b"pong"
        control.clear()
        with pytest.raises(ConnectionResetError):
            one.recv(1)
    assert echo.got == [b"ping", b"pong"]


def test_responses_dropped(proxy, echo):
    """The server gets all requests; connections that lost a response are reset by clear()."""
    port, control = proxy
    with dial(port) as one, dial(port) as idle:
        assert ask(one) == ask(idle) == b"ping"
        control.inject("responses_dropped")
        for number in (b"1", b"2"):
            one.sendall(number)
            wait_until(lambda number=number: number in echo.got, what="the request")
        assert is_silent(one)
        control.clear()
        with pytest.raises(ConnectionResetError):
            one.recv(1)
        assert ask(idle) == b"ping"


def resp(*words: str) -> bytes:
    """Return a command in Redis' protocol."""
    sent = b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)
    return b"*%d\r\n%s" % (len(words), sent)


HELLO = resp("HELLO", "3", "AUTH", "default", "*3\r\n$3\r\nSET")
NAMED = resp("client", "SETINFO", "LIB-NAME", "some-client") + resp("Select", "1")


@pytest.mark.parametrize("begins", ["before", "within", "after"])
def test_responses_dropped_passes_handshake(proxy, echo, begins):
    """Responses to a Redis handshake arrive, whenever the fault begins; others do not."""
    port, control = proxy
    if begins == "before":
        control.inject("responses_dropped")
    with dial(port) as one:
        assert ask(one, HELLO) == HELLO
        if begins == "within":
            control.inject("responses_dropped")
        assert ask(one, NAMED) == NAMED
        if begins == "after":
            control.inject("responses_dropped")
        one.sendall(resp("SET", "a", "1"))
        wait_until(lambda: b"".join(echo.got).endswith(b"1\r\n"), what="the command")
        assert is_silent(one)
        one.sendall(HELLO)
        assert is_silent(one)
        control.clear()
        with pytest.raises(ConnectionResetError):
            one.recv(1)


def test_handshake_in_single_bytes(proxy, echo):
    """The parser joins a handshake that the network has split."""
    port, control = proxy
    control.inject("responses_dropped")
    with dial(port) as one:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place in range(len(NAMED)):
            assert ask(one, NAMED[place : place + 1]) == NAMED[place : place + 1]
        control.clear()
        assert ask(one) == b"ping"


@pytest.mark.parametrize(
    "data",
    [
        b"PING\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01",
        b"*" * 100,
        resp("FT.INFO", "x"),
        resp("HELLOS"),
        HELLO + resp("GET", "a"),
    ],
    ids=["inline", "HTTP", "TLS", "noise", "module", "longer", "pipelined"],
)
def test_responses_dropped_without_handshake(proxy, echo, data):
    """The response to other data is dropped on a new connection as well."""
    port, control = proxy
    control.inject("responses_dropped")
    with dial(port) as one:
        one.sendall(data)
        wait_until(lambda: b"".join(echo.got) == data, what="the request")
        assert is_silent(one)


def test_isolated(proxy, echo):
    """No data gets through, and all of it after clear()."""
    port, control = proxy
    with dial(port) as one:
        assert ask(one) == b"ping"
        control.inject("isolated")
        one.sendall(b"held")
        with dial(port) as another:
            another.sendall(b"late")
            assert is_silent(one)
            assert is_silent(another)
            assert echo.got == [b"ping"]
            control.clear()
            assert one.recv(4) == b"held"
            assert another.recv(4) == b"late"


@pytest.mark.parametrize(
    ("kind", "amount"),
    [("latency", 0), ("latency", float("inf")), ("bandwidth_limited", -1), ("noise", 1)],
)
def test_inject_rejects_invalid_fault(proxy, kind, amount):
    """It raises ValueError, and no fault is active."""
    port, control = proxy
    with pytest.raises(ValueError, match=kind):
        control.inject(kind, amount)
    with dial(port) as one:
        assert ask(one) == b"ping"


def test_proxy_uses_next_backend(echo):
    """Backends that refuse are skipped; if all do, the connection ends."""
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        unused = dead.getsockname()[1]
        proxy = Proxy([unused, f"127.0.0.1:{echo.port}"])
        for _ in range(4):
            with dial(proxy.port) as one:
                assert ask(one) == b"ping"
        proxy.backends = [("127.0.0.1", unused)]
        with dial(proxy.port) as one:
            assert one.recv(1) == b""
        proxy.close()


def test_close_resets_and_refuses_connections(echo):
    """close() resets open connections, and stops listening; it may be called twice."""
    proxy = Proxy([echo.port])
    with dial(proxy.port) as one:
        assert ask(one) == b"ping"
        proxy.close()
        with pytest.raises(ConnectionResetError):
            one.recv(1)
    with pytest.raises(ConnectionRefusedError):
        dial(proxy.port)
    proxy.close()


def test_end_of_server_connection_ends_client_connection(echo):
    """The client gets the last data and the end of the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = Proxy([listener.getsockname()[1]])
        with dial(proxy.port) as one:
            served, _ = listener.accept()
            served.sendall(b"bye")
            served.close()
            assert one.recv(3) == b"bye"
            assert one.recv(1) == b""
        proxy.close()


def test_script_ends_on_sigterm(echo):
    """PID 1 of a container ends only on signals that it handles."""
    port, control = free_port(), free_port()
    options = ["--listen", str(port), "--control", str(control), f"127.0.0.1:{echo.port}"]
    with subprocess.Popen([sys.executable, proxy_module.__file__, *options]) as running:
        try:
            wait_until(lambda: dial(control).close() is None, what="the script")
            with dial(port) as connection:
                assert ask(connection) == b"ping"
                running.terminate()
                assert running.wait(5) == 0  # negative if the signal were not handled
        finally:
            running.kill()


def test_remote_proxy_waits_for_start_of_script(echo):
    """It retries until the script listens, also if Docker accepts connections before that."""
    port, control = free_port(), free_port()
    pool = ThreadPoolExecutor(1)
    options = ["--listen", str(port), "--control", str(control), f"127.0.0.1:{echo.port}"]
    with socket.create_server(("127.0.0.1", control)) as docker, pool:
        clearing = pool.submit(RemoteProxy("127.0.0.1", control).clear)
        docker.accept()[0].close()
        docker.close()
        with subprocess.Popen([sys.executable, proxy_module.__file__, *options]) as running:
            try:
                clearing.result(10)
            finally:
                running.kill()


def test_remote_proxy_without_script(monkeypatch):
    """It raises OSError after the timeout."""
    monkeypatch.setattr(proxy_module, "_STARTUP_TIMEOUT", 0.1)
    with pytest.raises(OSError, match="refused"):
        RemoteProxy("127.0.0.1", free_port()).clear()
