"""`serve` on a Unix socket, alone and behind nginx."""

import os
import shutil
import signal
import socket
import stat
from contextlib import closing

import pytest
import requests
from requests.adapters import HTTPAdapter

from flask_redis_counter.testing import run_load, wait_until
from flask_redis_counter.testing.stacks.process import Process, free_port

from .serving import lines
from .unix_client import UnixConnection, ask

#: As documented in operating.md, "A proxy over a Unix socket".
NGINX = """
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream counter {{
        server unix:{socket};
        keepalive 32;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://counter;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_next_upstream off;
        }}
    }}
}}
"""


def ready(run, path):
    """Wait for the first response of `serve` on a Unix socket."""
    wait_until(lambda: ask(path, "GET", "/healthz").status == 200, what="an answer")
    return run.announced()


def is_refused(path):
    """Return whether no process listens on a Unix socket any more."""
    try:
        ask(path, "GET", "/healthz")
    except ConnectionRefusedError:
        return True
    return False


@pytest.fixture
def path(tmp_path):
    """The path of a socket."""
    return tmp_path / "socket"


def test_unix_socket(serve, server, client, path):
    """Hits count over the socket; all workers answer; the file is removed at the end."""
    run = ready(serve(f"--unix={path}", REDIS_URL=server.url, COUNTER_TRUSTED_PROXIES="unix"), path)
    assert lines(run)[-2:] == [
        f"serving the Unix socket {path} (2 workers); Ctrl-C stops",
        "see also: /stats, /snippet, /metrics; and flask-redis-counter doctor",
    ]
    assert "Warning" not in run.log()
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    with closing(UnixConnection(path)) as connection:
        assert [connection.ask("POST", "/count").json["value"] for _ in range(3)] == [1, 2, 3]
    for page in ("/", "/stats", "/snippet", "/metrics"):
        assert ask(path, "GET", page).status == 200
    assert run.stop() == 0
    assert not path.exists()
    assert client.get("counter:{visits}") == b"3"


@pytest.mark.parametrize("trusted", ["unix", ""])
@pytest.mark.parametrize("fast", ["true", "false"])
def test_clients_behind_a_unix_socket(serve, server, client, path, trusted, fast):
    """With `unix` as a trusted proxy each client has its rate limit, otherwise all are one."""
    settings = {"COUNTER_RATE_LIMIT": "1/3600", "COUNTER_FAST_PATH": fast}
    settings |= {"COUNTER_TRUSTED_PROXIES": trusted, "COUNTER_TIMEOUT": "5"}
    run = ready(serve(f"--unix={path}", REDIS_URL=server.url, **settings), path)
    clients = ("192.0.2.1", "192.0.2.2", "192.0.2.1")
    statuses = [ask(path, "POST", "/count", X_Forwarded_For=one).status for one in clients]
    links = ask(path, "GET", "/snippet", X_Forwarded_Proto="https", Host="example.org").text
    assert ("Warning: all visitors are one" in run.log()) == (not trusted)
    if trusted:
        assert statuses == [200, 200, 429]
        assert "https://example.org/counters/visits.svg" in links
    else:
        assert statuses == [200, 429, 429]
        assert "http://example.org/counters/visits.svg" in links


def test_socket_of_a_killed_server(serve, server, path):
    """A socket in use is one clear line; the file of a killed server is replaced."""
    run = ready(serve(f"--unix={path}", REDIS_URL=server.url), path)
    other = serve(f"--unix={path}", REDIS_URL=server.url)
    assert other.wait() == 1
    assert lines(other)[-1] == (
        f"Error: cannot listen on '{path}': it is in use; stop that server, or choose another "
        "path with --unix"
    )
    assert ask(path, "GET", "/healthz").status == 200
    run.kill()
    wait_until(lambda: is_refused(path), what="the end of the workers")
    assert path.is_socket()
    ready(serve(f"--unix={path}", REDIS_URL=server.url), path)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_ended_worker(serve, server, client, path, number):
    """Connections are accepted by the other worker, and the ended one is replaced."""
    run = ready(serve(f"--unix={path}", REDIS_URL=server.url, COUNTER_TIMEOUT="5"), path)
    killed = run.children()[0]
    os.kill(killed, number)
    wait_until(lambda: len(set(run.children()) - {killed}) == 2, what="a new worker")
    statuses = [ask(path, "POST", "/count").status for _ in range(50)]
    assert statuses == [200] * 50
    assert client.get("counter:{visits}") == b"50"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (
            ["--unix=socket", "--port=5000"],
            2,
            "--unix: --port is for TCP; leave out one of the two",
        ),
        (["--unix=socket", "--host=::1"], 2, "--unix: --host is for TCP; leave out one of the two"),
        (["--unix=/dev/null"], 1, "cannot listen on '/dev/null': it exists and is not a socket"),
        (["--unix=/no/such/folder"], 1, "cannot listen on '/no/such/folder': No such file"),
        (["--unix=/tmp/" + "x" * 120], 1, "cannot listen on '/tmp/xxx"),
    ],
)
def test_invalid_paths(serve, server, tmp_path, options, code, said):
    """Invalid options and unusable paths are one clear line."""
    run = serve(*options, REDIS_URL=server.url)
    assert run.wait() == code
    assert lines(run)[-1].startswith(f"Error: {said}")
    assert "Traceback" not in run.log()


class FromAddress(HTTPAdapter):
    """Connects from an address of this machine."""

    def __init__(self, address):
        self._address = address
        super().__init__()

    def init_poolmanager(self, *arguments, **options):
        """Set the address of new connections."""
        super().init_poolmanager(*arguments, source_address=(self._address, 0), **options)


@pytest.fixture
def nginx(tmp_path, path):
    """Start nginx in front of the socket; return its URL."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("no nginx: apt-get install nginx-light")
    port = free_port()
    written = tmp_path / "nginx.conf"
    written.write_text(NGINX.format(folder=tmp_path, socket=path, port=port))
    proxy = Process([program, "-p", str(tmp_path), "-c", str(written)], log=tmp_path / "nginx")
    proxy.start()
    wait_until(lambda: socket.create_connection(("127.0.0.1", port)).close() is None, what="nginx")
    yield f"http://127.0.0.1:{port}"
    proxy.stop()


def test_clients_behind_nginx(serve, server, client, path, nginx):
    """nginx passes on the address of each client; a header of the client itself is replaced."""
    settings = {"COUNTER_RATE_LIMIT": "2/3600", "COUNTER_TRUSTED_PROXIES": "unix"}
    run = serve(f"--unix={path}", REDIS_URL=server.url, COUNTER_TIMEOUT="5", **settings)
    ready(run, path)
    statuses = {}
    for address in ("127.0.0.2", "127.0.0.3"):
        with requests.Session() as session:
            session.mount("http://", FromAddress(address))
            headers = {"X-Forwarded-For": "192.0.2.1"}
            hits = [session.post(f"{nginx}/count", headers=headers, timeout=5) for _ in range(3)]
            statuses[address] = [hit.status_code for hit in hits]
    assert statuses == {"127.0.0.2": [200, 200, 429], "127.0.0.3": [200, 200, 429]}
    assert run.stop() == 0
    assert requests.post(f"{nginx}/count", timeout=5).status_code == 502
    assert client.get("counter:{visits}") == b"4"


def test_nginx_repeats_no_hit(serve, server, client, path, nginx):
    """No hit counts twice when workers are killed behind nginx, which keeps connections open."""
    run = ready(serve(f"--unix={path}", REDIS_URL=server.url, COUNTER_TIMEOUT="5"), path)
    killed = set()

    def should_continue(tally):
        if len(tally.values) > 100 * (len(killed) + 1):
            alive = set(run.children()) - killed
            if len(alive) == 2:
                killed.add(min(alive))
                os.kill(min(alive), signal.SIGKILL)
        return len(killed) < 8

    tally = run_load(lambda: nginx, clients=8, should_continue=should_continue)
    wait_until(lambda: ask(path, "GET", "/readyz").status == 200, what="the service")
    tally.check(before=0, after=int(client.get("counter:{visits}")))
    assert tally.unknown > 0  # the kills have hit requests


def test_full_queue_of_a_stopped_worker(serve, server, path):
    """Connections that wait for a worker that hangs are answered by the other one."""
    run = ready(serve(f"--unix={path}", REDIS_URL=server.url, COUNTER_TIMEOUT="5"), path)
    stopped = run.children()[0]
    os.kill(stopped, signal.SIGSTOP)
    try:
        with socket.socket(socket.AF_UNIX) as waiting:
            waiting.settimeout(5)
            waiting.connect(str(path))
            waiting.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert waiting.recv(12) == b"HTTP/1.1 200"
    finally:
        os.kill(stopped, signal.SIGCONT)
