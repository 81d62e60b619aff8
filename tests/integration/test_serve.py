"""`flask-redis-counter serve`, as the process that a user starts."""

import json
import os
import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
import requests

from flask_redis_counter import RedisCounter
from flask_redis_counter.doctor.checks import run_checks
from flask_redis_counter.store.embedded import EmbeddedValkey
from flask_redis_counter.testing import wait_until
from flask_redis_counter.testing.stacks.process import free_port

from .serving import lines
from .support import KEY, readiness, within


def test_counts_survive_a_stop(serve, tmp_path):
    """The embedded store is announced in one line, stops cleanly and keeps the counts."""
    folder = tmp_path / "data"
    run = serve(f"--data-dir={folder}").ready()
    assert [run.get().json()["value"] for _ in range(3)] == [1, 2, 3]
    assert lines(run) == [
        f"store: embedded, append-only file in {folder}",
        f"serving {run.url} (2 workers); Ctrl-C stops",
        f"see also: {run.url}stats, {run.url}snippet, {run.url}metrics; "
        "and flask-redis-counter doctor",
    ]
    for page in ("", "stats", "snippet", "metrics"):
        assert run.get(f"/{page}").ok
    with within(3):
        assert run.stop() == 0
    assert "Traceback" not in run.log()
    with pytest.raises(requests.ConnectionError):
        run.get()
    again = serve(f"--data-dir={folder}").ready()
    assert again.get().json()["value"] == 4


def test_admin_key_length_is_logged(serve, server):
    """The start logs the length of the admin key: a $ in a file .env may have cut it."""
    run = serve(REDIS_URL=server.url, COUNTER_ADMIN_KEY="sixteen-or-more-characters").ready()
    assert "admin key: 26 characters" in lines(run)
    assert "sixteen" not in run.log()
    found = run_checks({"REDIS_URL": server.url, "COUNTER_ADMIN_KEY": "sixteen-or-more-characters"})
    assert [one.message for one in found if one.subject == "admin key"] == ["it has 26 characters"]


def test_ctrl_c(serve, tmp_path):
    """SIGINT to the process group, as from a terminal, stops everything without a traceback."""
    run = serve(f"--data-dir={tmp_path / 'data'}").ready()
    assert run.get().json()["value"] == 1
    run.signal(signal.SIGINT)
    assert run.wait() == 0
    assert "Traceback" not in run.log()
    with EmbeddedValkey(tmp_path / "data") as store, RedisCounter(store.url) as counter:
        assert counter.value("visits") == 1


def test_stop_while_workers_start(serve, tmp_path):
    """SIGTERM after the first response also stops workers that are still starting."""
    # More workers would take longer to start on a busy machine than the timeout.
    run = serve("--workers=4", f"--data-dir={tmp_path / 'data'}").ready()
    with within(4):  # less than the time after which an unresponsive worker is killed
        assert run.stop() == 0


def test_counts_survive_a_sigkill_of_everything(serve, tmp_path):
    """Acknowledged hits survive a SIGKILL of server, workers and store."""
    folder = tmp_path / "data"
    run = serve(f"--data-dir={folder}").ready()
    assert [run.get().json()["value"] for _ in range(5)] == [1, 2, 3, 4, 5]
    (store,) = run.children("valkey-server")
    os.kill(store, signal.SIGKILL)
    run.kill()
    again = serve(f"--data-dir={folder}").ready()
    assert again.get().json()["value"] == 6


def test_killed_parent_leaves_no_worker(serve, tmp_path):
    """Workers of a killed parent stop, and the next start stops the orphaned store."""
    folder = tmp_path / "data"
    run = serve(f"--data-dir={folder}").ready()
    assert run.get().json()["value"] == 1
    os.kill(run.pid, signal.SIGKILL)
    run.wait()

    def gone():
        try:
            return not run.get("/healthz")
        except requests.ConnectionError:
            return True

    wait_until(gone, what="the end of the workers")
    again = serve(f"--data-dir={folder}").ready()
    assert again.get().json()["value"] == 2


def test_embedded_store_is_restarted(serve, tmp_path):
    """The embedded store is restarted when it dies, with its counts."""
    run = serve(f"--data-dir={tmp_path / 'data'}").ready()
    assert run.get().json()["value"] == 1
    (store,) = run.children("valkey-server")
    os.kill(store, signal.SIGKILL)
    wait_until(lambda: run.get("/readyz").ok, what="the store's return")
    assert run.get().json()["value"] == 2


def test_configured_store(serve, server, client):
    """With a configured Redis no store is embedded."""
    run = serve(REDIS_URL=server.url).ready()
    assert run.get().json()["value"] == 1
    assert lines(run)[0] == f"store: {server.url}"
    assert client.get(KEY) == b"1"


def test_unreachable_store(serve):
    """An unreachable store is logged, and the server keeps running."""
    port = free_port()
    run = serve(REDIS_HOST="127.0.0.1", REDIS_PORT=str(port)).ready()
    assert f"redis://127.0.0.1:{port}/0 does not answer yet" in lines(run)[0]
    assert run.get("/").status_code == 200
    assert run.get().json()["counted"] is False


@pytest.mark.parametrize("nohup", [False, True])
def test_closed_terminal(serve, tmp_path, nohup):
    """Closing the terminal stops the server and its store; under nohup it keeps running."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)
    try:
        run = serve(f"--data-dir={tmp_path / 'data'}").ready()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert run.get().json()["value"] == 1
    os.killpg(run.pid, signal.SIGHUP)
    if nohup:
        assert run.get().json()["value"] == 2
    else:
        wait_until(lambda: not run.is_running(), what="its end", timeout=5)
    run.stop()
    again = serve(f"--data-dir={tmp_path / 'data'}").ready()
    assert again.get().json()["value"] == (3 if nohup else 2)


def test_json_log(serve, server):
    """Each line is a JSON object: at the start, for each request, and of the workers."""
    settings = {"COUNTER_LOG_FORMAT": "json", "COUNTER_ACCESS_LOG": "true", "COUNTER_TYPO": "x"}
    run = serve("--workers=1", REDIS_URL=server.url, **settings).ready()
    for _ in range(3):
        assert run.get().headers["X-Request-ID"]
    (worker,) = run.children()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: "ended unexpectedly" in run.output.read_text(), what="a line about it")
    run.stop()
    said = [json.loads(line) for line in lines(run)]
    assert all(line["level"] and line["message"] and line["time"] for line in said)
    assert "COUNTER_TYPO is an unknown setting" in said[0]["message"]
    counted = [line for line in said if line.get("path") == "/count"]
    assert [(line["status"], line["method"]) for line in counted] == [(200, "GET")] * 3
    assert len({line["request_id"] for line in counted}) == 3
    assert all(0 < line["duration_ms"] < 5000 for line in counted)
    assert "127.0.0.1" not in "".join(line["message"] for line in counted)


@pytest.mark.parametrize(
    ("environment", "options", "said"),
    [
        ({"REDIS_PORT": "none"}, [], "REDIS_PORT: 'none'"),
        ({"REDIS_URL": "redis://localhost/0?colour=red"}, [], "REDIS_URL: "),
        ({"COUNTER_NAME": "a b"}, [], "COUNTER_NAME: invalid counter name 'a b'"),
        ({"REDIS_URL": "rediss://localhost/0?ssl_cert_reqs=bogus"}, [], "REDIS_URL: "),
        ({"REDIS_PASSWORD": "secret"}, [], "REDIS_PASSWORD: is set, but no Redis"),
        ({"REDIS_HOST": "a"}, ["--data-dir=b"], "--data-dir: is for the embedded store"),
        ({}, ["--data-dir=/dev/null/x"], "--data-dir: "),
        ({}, ["--data-dir=/tmp/" + "x" * 120], "--data-dir: "),
        ({}, ["--port=70000"], "70000"),
        ({}, ["--workers=0"], "0 is not in the range"),
    ],
)
def test_invalid_settings(serve, environment, options, said):
    """Invalid settings print one clear line and exit with 2."""
    run = serve(*options, **environment)
    assert run.wait() == 2
    error = lines(run)[-1]
    assert error.startswith("Error: ")
    assert said in error
    assert "Traceback" not in run.log()


def test_folder_in_use(serve, tmp_path):
    """A second server on the same append-only file exits with an error."""
    serve(f"--data-dir={tmp_path / 'data'}").ready()
    other = serve(f"--data-dir={tmp_path / 'data'}")
    assert other.wait() == 2
    assert "in use by another process; stop it" in lines(other)[-1]


def test_port_in_use(serve, server, tmp_path):
    """A port in use is not shared: one clear line, exit code 1."""
    run = serve(REDIS_URL=server.url).ready()
    other = serve(f"--port={run.port}", REDIS_URL=server.url)
    assert other.wait() == 1
    assert f"127.0.0.1:{run.port}: it is in use" in lines(other)[-1]


def test_a_killed_worker_is_replaced(serve, server, client):
    """A killed worker is replaced."""
    run = serve("--workers=1", REDIS_URL=server.url).ready()
    (worker,) = run.children()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: run.get().json()["value"] >= 1, what="a hit after the worker's death")


def test_slow_bodies_block_no_thread(serve, server, client):
    """Clients that announce a body and do not send it block no thread."""
    run = serve(REDIS_URL=server.url).ready()
    with ExitStack() as held:
        for _ in range(32):
            slow = held.enter_context(socket.create_connection(("127.0.0.1", run.port)))
            slow.sendall(b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx")
            slow = held.enter_context(socket.create_connection(("127.0.0.1", run.port)))
            slow.sendall(b"PUT /counters/a HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx")
        for _ in range(8):
            assert run.get("/healthz").elapsed.total_seconds() < 1
            assert run.get("/").status_code == 200


def test_put_body(serve, server, client):
    """The body of a PUT is read, also in chunks; the bytes after it are the next request."""
    key = "correct-horse-battery-staple"
    run = serve("--workers=1", REDIS_URL=server.url, COUNTER_ADMIN_KEY=key).ready()
    url, admin = f"http://127.0.0.1:{run.port}/counters/orders", {"Authorization": f"Bearer {key}"}
    with requests.Session() as session:
        session.headers.update(admin)
        body = b'{"value": 7}'
        assert session.put(url, data=body, timeout=5).json()["was"] is None
        assert session.put(url, data=body + 65_000 * b" ", timeout=5).json()["was"] == 7
        assert session.put(url, data=iter([body]), timeout=5).json()["was"] == 7
        assert session.delete(url, timeout=5).json()["was"] == 7
    assert client.get("counter:{orders}") is None
    # The server may close such a connection, and leave the rest of the body unread.
    for large in (70_000 * b" ", iter([70_000 * b" "])):
        assert requests.put(url, data=large, headers=admin, timeout=5).status_code == 413


def test_metrics_token_on_any_path(serve, server):
    """No spelling of the path bypasses the metrics token, also behind a proxy."""
    idempotency_key = "correct-horse-battery-staple"
    run = serve("--workers=1", REDIS_URL=server.url, COUNTER_METRICS_TOKEN=idempotency_key).ready()

    def ask(path, header=""):
        with socket.create_connection(("127.0.0.1", run.port), timeout=5) as visitor:
            request = f"GET {path} HTTP/1.1\r\nHost: a\r\n{header}Connection: close\r\n\r\n"
            visitor.sendall(request.encode())
            with visitor.makefile() as answer:
                return answer.read()

    for path in ("/metrics", "//metrics", "/%6detrics", "/./metrics", "/a/../metrics", "/metrics/",
                 "/metrics?a", "http://a/metrics", "/METRICS", "/metrics;a"):  # fmt: skip
        answer = ask(path)
        assert answer.split()[1] in ("401", "404"), path
        assert "counter_hits_total" not in answer
    assert "counter_hits_total" in ask("/%6detrics", f"Authorization: Bearer {idempotency_key}\r\n")


@pytest.mark.parametrize(
    "headers",
    [
        b"Host: a\r\nIdempotency-Key: \xc3\xbc",
        b"Host: a\r\nAccept: \xe9",
        b"Host: \xe9",
        b"Host: a\r\nHost: b",
        "Host: bücher.example".encode(),
        b"Host: a:99999",
        b"Host: a..b",
    ],
)
def test_undecodable_header(serve, server, client, headers):
    """An undecodable header is a 400, and is not treated as absent; nothing is counted."""
    run = serve(REDIS_URL=server.url).ready()
    with socket.create_connection(("127.0.0.1", run.port), timeout=5) as visitor:
        visitor.sendall(b"GET /count HTTP/1.1\r\nConnection: close\r\n" + headers + b"\r\n\r\n")
        assert visitor.recv(65536).startswith(b"HTTP/1.1 400 ")
    assert client.dbsize() == 0


@pytest.mark.parametrize("at", ["a header", "the path", "many headers"])
def test_too_large_headers(serve, server, client, at):
    """Too large headers are rejected, and nothing is counted; usual ones are accepted."""
    run = serve(REDIS_URL=server.url).ready()

    def ask(size):
        path, header = "/count", f"X-Large: {size * 'a'}\r\n"
        if at == "the path":
            path, header = f"/count?{size * 'a'}", ""
        elif at == "many headers":
            header = "".join(f"X-{number}: {1000 * 'a'}\r\n" for number in range(size // 1000))
        with socket.create_connection(("127.0.0.1", run.port), timeout=5) as visitor:
            request = f"GET {path} HTTP/1.1\r\nHost: a\r\n{header}\r\n"
            try:
                visitor.sendall(request.encode())
                return visitor.recv(65536).split()[1]
            except ConnectionError:  # the server may close it early, without a response
                return None

    assert ask(16_000) == b"200"
    assert ask(90_000) in (None, b"414", b"431")
    assert client.get("counter:{visits}") == b"1"


def test_header_with_an_underscore(serve, server, client):
    """A header with an underscore is not the one with a hyphen, on the fast path and in Flask."""
    run = serve(REDIS_URL=server.url).ready()
    for accept in ("application/json", "text/plain"):
        headers = {"Idempotency_Key": "a", "Accept": accept}
        for _ in range(2):
            requests.get(f"http://127.0.0.1:{run.port}/count", headers=headers, timeout=5)
    assert client.get(KEY) == b"4"


def test_unknown_setting_is_logged(serve, server):
    """An unknown COUNTER_ variable is logged as ignored."""
    run = serve(REDIS_URL=server.url, COUNTER_PREFX="x").ready()
    assert "COUNTER_PREFX is an unknown setting" in run.log()


def test_service_links(serve, server, client):
    """Kubernetes' variables for Services named redis and counter: one warning, and hits count."""
    links = {"REDIS_PORT": "tcp://10.0.0.11:6379", "COUNTER_PORT": "tcp://10.0.0.12:80"}
    links |= {"COUNTER_SERVICE_HOST": "10.0.0.12", "COUNTER_PORT_80_TCP_ADDR": "10.0.0.12"}
    run = serve("--workers=1", REDIS_URL=server.url, **links).ready()
    assert run.get().json()["counted"]
    (said,) = [line for line in lines(run) if line.startswith("Warning")]
    assert "enableServiceLinks: false" in said
    assert client.get(KEY) == b"1"


def test_hit_in_flight_at_a_stop(serve, server, client):
    """SIGTERM while the store is slow: the hit in flight is answered, and then the server stops."""
    run = serve(REDIS_URL=server.url, COUNTER_TIMEOUT="10").ready()
    assert run.get().json()["value"] == 1
    client.client_pause(1500, all=False)  # writes block
    with ThreadPoolExecutor(1) as pool:
        visit = pool.submit(run.get)
        wait_until(lambda: client.info("clients")["blocked_clients"] == 1, what="a waiting hit")
        assert run.stop() == 0
        assert visit.result().json() == {"name": "visits", "value": 2, "counted": True}
    assert client.get(KEY) == b"2"


def test_durability_warnings(serve, own_server):
    """Eviction, and an append-only file that is off or synced late, are logged."""
    url = own_server.url
    with redis.Redis.from_url(url) as client:
        sound = serve(REDIS_URL=url).ready()
        assert "Warning" not in sound.log()
        client.config_set("appendfsync", "everysec")
        assert "with always, it loses none" in serve(REDIS_URL=url).ready().log()
        client.config_set("appendonly", "no")
        client.config_set("maxmemory-policy", "allkeys-lru")
        log = serve(REDIS_URL=url).ready().log()
    assert "Warning: maxmemory-policy is allkeys-lru" in log
    assert "Warning: appendonly is off" in log


def test_unsupported_durability(serve, start_server):
    """An unsupported durability is one line and exit code 2 at the start."""
    store = start_server("--appendonly", "no")
    run = serve(REDIS_URL=store.url, COUNTER_DURABILITY="fsync")
    assert run.wait() == 2
    assert "COUNTER_DURABILITY: durability=fsync needs" in run.log()
    assert "Traceback" not in run.log()


def test_spool_survives_a_sigkill_of_everything(serve, own_server, tmp_path):
    """A spooled hit is counted once after a SIGKILL and a restart."""
    settings = {
        "REDIS_URL": own_server.url,
        "COUNTER_ON_OUTAGE": "spool",
        "COUNTER_SPOOL_DIR": str(tmp_path / "spool"),
    }
    run = serve(**settings).ready()
    assert run.get().json()["value"] == 1
    own_server.kill()
    answers = [run.get() for _ in range(10)]
    assert {answer.status_code for answer in answers} == {202}
    assert answers[0].json() == {"counted": "spooled"}
    assert readiness(run.get("/readyz").json()) == {"status": "spooling", "spooled": 10}
    run.kill()
    own_server.start()
    run = serve(**settings).ready()
    assert f"spool: {tmp_path / 'spool'}/spool.sqlite3, 10 hits wait" in run.log()
    wait_until(lambda: run.get("/readyz").json()["spooled"] == 0, what="an empty spool")
    assert run.get().json()["value"] == 12
    run.stop()


def test_unusable_spool(serve, tmp_path):
    """An unusable spool folder is one clear line and exit code 2, before a worker starts."""
    (tmp_path / "file").touch()
    run = serve(COUNTER_ON_OUTAGE="spool", COUNTER_SPOOL_DIR=str(tmp_path / "file"))
    assert run.wait() == 2
    assert run.log().startswith("Error: COUNTER_SPOOL_DIR: cannot be used: ")
    assert len(run.log().splitlines()) == 1


def test_metrics_folder_is_removed(serve, server):
    """The folder in which workers share metrics is removed at the end."""
    run = serve(REDIS_URL=server.url).ready()
    run.get()
    assert "counter_added_total 1.0\n" in run.get("/metrics").text
    maps = Path(f"/proc/{run.children()[0]}/maps").read_text()
    folder = Path(re.search(r"(\S+)/[^/]+\.meter$", maps, re.M)[1])
    assert len(list(folder.iterdir())) == 2
    assert run.stop() == 0
    assert not folder.exists()
