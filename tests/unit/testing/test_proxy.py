"""The proxy does what networks do."""

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
    """A server that sends back what it got, and remembers it."""

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
        """Accept nothing any more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    """A server behind the proxy."""
    server = Echo()
    yield server
    server.close()


@pytest.fixture(params=["here", "as a script"])
def proxy(echo, request) -> Iterator[tuple[int, Proxy | RemoteProxy]]:
    """The port of a proxy, and what controls it."""
    if request.param == "here":
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
    """Connect."""
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def ask(connection: socket.socket, data: bytes = b"ping") -> bytes:
    """Send, and return what comes back."""
    connection.sendall(data)
    got = b""
    while len(got) < len(data) and (more := connection.recv(65536)):
        got += more
    return got


def silent(connection: socket.socket) -> bool:
    """Whether nothing comes, not even an end."""
    connection.settimeout(0.2)
    try:
        return connection.recv(1) == b"never"
    except TimeoutError:
        return True
    finally:
        connection.settimeout(5)


def test_nothing_is_wrong(proxy):
    """Large and small, on several connections."""
    port, _ = proxy
    with dial(port) as one, dial(port) as other:
        assert ask(one) == b"ping"
        assert ask(other, bytes(300_000)) == bytes(300_000)
        assert ask(one) == b"ping"


def test_slow(proxy):
    """There and back take as long as was said, each."""
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


def test_choked(proxy):
    """So many bytes a second, there and back at the same time."""
    port, control = proxy
    with dial(port) as one:
        control.inject("bandwidth_limited", 20_000)
        began = time.monotonic()
        assert ask(one, bytes(6000)) == bytes(6000)
        assert 0.3 <= time.monotonic() - began < 2
        control.clear()
        assert ask(one) == b"ping"


def test_reset(proxy, echo):
    """What is open is reset, and what is opened; nothing arrives."""
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
    """What is open is silent for good, as behind a dead peer; what is opened works."""
    port, control = proxy
    with dial(port) as one:
        assert ask(one) == b"ping"
        control.inject("half_open")
        one.sendall(b"lost")
        assert silent(one)
        with dial(port) as another:
            assert ask(another, b"pong") == b"pong"
        control.clear()
        with pytest.raises(ConnectionResetError):
            one.recv(1)
    assert echo.got == [b"ping", b"pong"]


def test_replies_lost(proxy, echo):
    """The server gets everything, and nobody hears of it; afterwards such a connection is reset."""
    port, control = proxy
    with dial(port) as one, dial(port) as idle:
        assert ask(one) == ask(idle) == b"ping"
        control.inject("responses_dropped")
        for number in (b"1", b"2"):
            one.sendall(number)
            wait_until(lambda number=number: number in echo.got, what="the request")
        assert silent(one)
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
def test_replies_lost_on_a_new_connection(proxy, echo, begins):
    """The handshake with a Redis is heard of, whenever the fault begins; the command is not."""
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
        assert silent(one)
        one.sendall(HELLO)
        assert silent(one)
        control.clear()
        with pytest.raises(ConnectionResetError):
            one.recv(1)


def test_a_handshake_in_pieces(proxy, echo):
    """However the network cuts it."""
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
def test_what_is_no_handshake(proxy, echo, data):
    """Its reply is lost on a new connection as well."""
    port, control = proxy
    control.inject("responses_dropped")
    with dial(port) as one:
        one.sendall(data)
        wait_until(lambda: b"".join(echo.got) == data, what="the request")
        assert silent(one)


def test_cut(proxy, echo):
    """Nothing gets through, and all of it afterwards."""
    port, control = proxy
    with dial(port) as one:
        assert ask(one) == b"ping"
        control.inject("isolated")
        one.sendall(b"held")
        with dial(port) as another:
            another.sendall(b"late")
            assert silent(one)
            assert silent(another)
            assert echo.got == [b"ping"]
            control.clear()
            assert one.recv(4) == b"held"
            assert another.recv(4) == b"late"


@pytest.mark.parametrize(
    ("kind", "amount"),
    [("latency", 0), ("latency", float("inf")), ("bandwidth_limited", -1), ("noise", 1)],
)
def test_a_trouble_that_makes_no_sense(proxy, kind, amount):
    """An error at once, and nothing is wrong."""
    port, control = proxy
    with pytest.raises(ValueError, match=kind):
        control.inject(kind, amount)
    with dial(port) as one:
        assert ask(one) == b"ping"


def test_it_takes_the_next_backend(echo):
    """Backends that refuse are passed over; where all do, the connection ends."""
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        nobody = dead.getsockname()[1]
        proxy = Proxy([nobody, f"127.0.0.1:{echo.port}"])
        for _ in range(4):
            with dial(proxy.port) as one:
                assert ask(one) == b"ping"
        proxy.backends = [("127.0.0.1", nobody)]
        with dial(proxy.port) as one:
            assert one.recv(1) == b""
        proxy.close()


def test_a_closed_proxy_resets_and_refuses(echo):
    """Nothing of it stays."""
    proxy = Proxy([echo.port])
    with dial(proxy.port) as one:
        assert ask(one) == b"ping"
        proxy.close()
        with pytest.raises(ConnectionResetError):
            one.recv(1)
    with pytest.raises(ConnectionRefusedError):
        dial(proxy.port)
    proxy.close()


def test_the_end_of_one_side_ends_the_other(echo):
    """A server that closes is seen to close."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = Proxy([listener.getsockname()[1]])
        with dial(proxy.port) as one:
            served, _ = listener.accept()
            served.sendall(b"bye")
            served.close()
            assert one.recv(3) == b"bye"
            assert one.recv(1) == b""
        proxy.close()


def test_the_script_ends_at_once(echo):
    """Also as the first process of a container, where only a signal that is handled ends it."""
    port, control = free_port(), free_port()
    options = ["--listen", str(port), "--control", str(control), f"127.0.0.1:{echo.port}"]
    with subprocess.Popen([sys.executable, proxy_module.__file__, *options]) as running:
        try:
            wait_until(lambda: dial(control).close() is None, what="the script")
            with dial(port) as connection:
                assert ask(connection) == b"ping"
                running.terminate()
                assert running.wait(5) == 0  # below 0, the signal would have had to end it
        finally:
            running.kill()


def test_a_script_that_has_just_been_started(echo):
    """It is told as soon as it listens, also where Docker takes connections before."""
    port, control = free_port(), free_port()
    told = ThreadPoolExecutor(1)
    options = ["--listen", str(port), "--control", str(control), f"127.0.0.1:{echo.port}"]
    with socket.create_server(("127.0.0.1", control)) as docker, told:
        telling = told.submit(RemoteProxy("127.0.0.1", control).clear)
        docker.accept()[0].close()
        docker.close()
        with subprocess.Popen([sys.executable, proxy_module.__file__, *options]) as running:
            try:
                telling.result(10)
            finally:
                running.kill()


def test_a_script_that_is_not_there(monkeypatch):
    """An error, in the end."""
    monkeypatch.setattr(proxy_module, "_STARTUP_TIMEOUT", 0.1)
    with pytest.raises(OSError, match="refused"):
        RemoteProxy("127.0.0.1", free_port()).clear()
