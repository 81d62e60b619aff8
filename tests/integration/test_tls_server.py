"""`serve` with TLS: addresses, errors, and renewal of the certificate."""

import http.client
import json
import os
import signal
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress

import pytest
import requests

from flask_redis_counter.testing import wait_until
from flask_redis_counter.web.http.connection import FIRST_BYTE_TIMEOUT

from .serving import lines
from .support import resident_bytes, within

trustme = pytest.importorskip("trustme")


class Files:
    """A certificate for localhost and its key, which can be renewed."""

    def __init__(self, folder):
        self.authority = trustme.CA()
        self.cert, self.key = folder / "tls.crt", folder / "tls.key"
        self.ca = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca)
        self.options = f"--tls-cert={self.cert}", f"--tls-key={self.key}"
        self.renew()

    def renew(self):
        """Write a new certificate and key, as certbot does: one file after the other."""
        issued = self.authority.issue_cert("localhost", "127.0.0.1")
        for path, pems in (
            (self.cert, issued.cert_chain_pems),
            (self.key, [issued.private_key_pem]),
        ):
            new = path.with_suffix(".new")
            new.write_bytes(b"".join(pem.bytes() for pem in pems))
            new.replace(path)
        pem = issued.cert_chain_pems[0].bytes().decode()
        self.serial = ssl.PEM_cert_to_DER_cert(pem)

    def connect(self, run):
        """Return a connection that checks the certificate."""
        context = ssl.create_default_context(cafile=str(self.ca))
        return http.client.HTTPSConnection("127.0.0.1", run.port, timeout=5, context=context)


@pytest.fixture
def files(tmp_path):
    """A certificate and its key."""
    return Files(tmp_path)


def presented(connection):
    """Return the certificate that the server sent when the connection was opened."""
    return connection.sock.getpeercert(binary_form=True)


def ask(connection, target="/healthz"):
    """Send a request over a connection, and return status and body."""
    connection.request("GET", target, headers={"Accept": "*/*"})
    response = connection.getresponse()
    return response.status, response.read().decode()


def start(serve, server, files, *options, **settings):
    """Start `serve` with TLS, and wait for an answer."""
    run = serve(*files.options, *options, REDIS_URL=server.url, COUNTER_TIMEOUT="5", **settings)

    def answers():
        with closing(files.connect(run)) as connection:
            return ask(connection)[0] == 200

    wait_until(answers, what="an answer")
    return run.announced()


def client_hello(name):
    """Return the first bytes of a TLS client that asks for a host."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def new_certificate(files, run):
    """Return the certificate that a new connection gets."""
    with closing(files.connect(run)) as connection:
        connection.connect()
        return presented(connection)


def test_https(serve, server, client, files):
    """Hits count over TLS, links begin with https:, and the log has the address."""
    run = start(serve, server, files)
    url = f"https://127.0.0.1:{run.port}"
    assert f"serving {url}/ (2 workers); Ctrl-C stops" in lines(run)
    assert requests.post(f"{url}/count", verify=files.ca, timeout=5).json()["value"] == 1
    links = requests.get(f"{url}/snippet", verify=files.ca, timeout=5).text
    assert f"{url}/counters/visits.svg" in links
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{url}/count", timeout=5)
    assert client.get("counter:{visits}") == b"1"


def test_requests_without_tls_are_not_served(serve, server, client, files):
    """A client that speaks plain HTTP gets no response, and disturbs no other."""
    run = start(serve, server, files)
    with socket.create_connection(("127.0.0.1", run.port), timeout=5) as plain:
        plain.sendall(b"POST /count HTTP/1.1\r\nHost: a\r\n\r\n")
        with suppress(ConnectionResetError):
            assert not plain.recv(100).startswith(b"HTTP")
    with closing(files.connect(run)) as connection:
        assert ask(connection)[0] == 200
    assert client.get("counter:{visits}") is None
    assert "Traceback" not in run.log()


def test_unfinished_handshakes_leave_room(serve, server, client, files):
    """Beyond the maximum, the connection that has been in its handshake longest is closed."""
    run = start(serve, server, files, "--workers=1", COUNTER_MAX_CONNECTIONS="10")
    with ExitStack() as held:
        begun = time.monotonic()
        unfinished = []
        for number in range(40):
            connection = socket.create_connection(("127.0.0.1", run.port), timeout=5)
            held.enter_context(connection)
            if number % 2:
                connection.sendall(b"\x16\x03\x01")  # the begin of a ClientHello
            unfinished.append(connection)
        for connection in unfinished[:25]:
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        assert time.monotonic() - begun < FIRST_BYTE_TIMEOUT - 1
        with closing(files.connect(run)) as other:
            other.request("POST", "/count")
            assert other.getresponse().status == 200
    assert client.get("counter:{visits}") == b"1"


def test_idle_connections_make_room(serve, server, client, files):
    """Beyond the maximum, idle clients are disconnected, also if they do not confirm it (TLS)."""
    run = start(serve, server, files, "--workers=1", COUNTER_MAX_CONNECTIONS="20")
    context = ssl.create_default_context(cafile=str(files.ca))
    with ExitStack() as held:
        for _ in range(40):
            plain = socket.create_connection(("127.0.0.1", run.port), timeout=5)
            held.enter_context(context.wrap_socket(plain, server_hostname="127.0.0.1"))
        with ThreadPoolExecutor(10) as pool:

            def count(_):
                with closing(files.connect(run)) as other:
                    other.request("POST", "/count")
                    response = other.getresponse()
                    return response.status, json.loads(response.read())["value"]

            answers = list(pool.map(count, range(10))) + [count(0) for _ in range(30)]
    assert sorted(answers) == [(200, value) for value in range(1, 41)]
    assert client.get("counter:{visits}") == b"40"


def test_requests_ahead_occupy_little_memory(serve, server, files):
    """What a client sends behind a stream stays on the network, and is not received ahead."""
    run = start(serve, server, files, "--workers=1")
    (worker,) = run.children()
    context = ssl.create_default_context(cafile=str(files.ca))
    number, size = 100, 600_000
    before = resident_bytes(worker)
    with ExitStack() as held:
        for _ in range(number):
            plain = socket.create_connection(("127.0.0.1", run.port), timeout=5)
            client = held.enter_context(context.wrap_socket(plain, server_hostname="127.0.0.1"))
            client.sendall(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
            client.settimeout(0.02)
            with suppress(TimeoutError):
                client.sendall(size * b"a")
        assert resident_bytes(worker) - before < number * 150_000


def test_malformed_server_name_is_not_logged(serve, server, client, files):
    """A client cannot fill the log with ClientHellos; others are served."""
    run = start(serve, server, files)
    hello = client_hello("localhost")
    assert hello.count(b"localhost") == 1
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", run.port), timeout=5) as malformed:
            malformed.sendall(hello.replace(b"localhost", b"local\xffost"))
            with suppress(ConnectionResetError):
                while malformed.recv(1000):
                    pass
    with closing(files.connect(run)) as connection:
        assert ask(connection)[0] == 200
    assert "local" not in run.log().replace("127.0.0.1", "")
    assert "Traceback" not in run.log()


def test_renewal(serve, server, files):
    """New connections get the renewed certificate of each worker; open connections stay open."""
    run = start(serve, server, files)
    with closing(files.connect(run)) as opened:
        assert ask(opened)[0] == 200
        before = presented(opened)
        assert before == files.serial
        files.renew()
        wait_until(
            lambda: {new_certificate(files, run) for _ in range(16)} == {files.serial},
            what="the new certificate in both workers",
        )
        assert ask(opened)[0] == 200
        assert presented(opened) == before
    assert "the certificate was renewed" in run.log()
    # The parent, which forks the replacement, has loaded the first certificate.
    killed = set(run.children())
    for worker in killed:
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: len(set(run.children()) - killed) == 2, what="new workers")
    assert {new_certificate(files, run) for _ in range(16)} == {files.serial}


def test_broken_renewal(serve, server, files):
    """A key that does not match is logged, and the old certificate stays in use."""
    run = start(serve, server, files, "--workers=1")
    before = files.serial
    files.authority.issue_cert("localhost").private_key_pem.write_to_path(files.key)
    said = "the previous one stays in use: --tls-key: "
    wait_until(lambda: said in run.log(), what="a line in the log")
    assert new_certificate(files, run) == before
    files.renew()
    wait_until(lambda: new_certificate(files, run) == files.serial, what="the new certificate")
    assert run.log().count(said) == 1


def test_stop_with_open_connections(serve, server, files):
    """Idle TLS connections do not hold up the end."""
    run = start(serve, server, files)
    with closing(files.connect(run)) as idle:
        assert ask(idle)[0] == 200
        with within(3):
            assert run.stop() == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tls-cert={cert}"], "--tls-cert: needs --tls-key"),
        (["--tls-key={key}"], "--tls-key: needs --tls-cert"),
        (["--tls-cert={key}", "--tls-key={key}"], "--tls-cert: '{key}' is not a certificate"),
        (["--tls-cert={cert}", "--tls-key={cert}"], "--tls-key: '{cert}' is not a private key"),
        (["--tls-cert=/no/such", "--tls-key={key}"], "--tls-cert: '/no/such': No such file"),
        (
            ["--tls-cert={cert}", "--tls-key={key}", "--unix=socket"],
            "--unix: --tls-cert is for TCP",
        ),
    ],
)
def test_invalid_options(serve, files, options, said):
    """Invalid options print one clear line and exit with 2, before anything is started."""
    paths = {"cert": files.cert, "key": files.key}
    run = serve(*(option.format_map(paths) for option in options))
    assert run.wait() == 2
    assert run.log().startswith(f"Error: {said.format_map(paths)}")
    assert len(lines(run)) == 1
