"""The same responses under every WSGI server."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest


def test_media_types(server):
    """JSON by default, HTML for a browser, bare text; HEAD reads."""
    document = server.request("GET", "/count").json()
    value = document["value"]
    assert document == {"name": "visits", "value": value, "counted": True}
    text = server.request("POST", "/count", headers={"Accept": "text/plain"})
    assert text.text == f"{value + 1}\n"
    assert text.headers["Cache-Control"] == "no-store"
    page = server.request("GET", "/count", headers={"Accept": "text/html"})
    assert page.headers["Content-Type"].startswith("text/html")
    assert f"{value + 2:,}" in page.text
    head = server.request("HEAD", "/count")
    assert (head.status_code, head.content) == (200, b"")
    assert server.value() == value + 2


def test_key_counts_once(server):
    """A repeated key counts once, and says so; with another amount it is rejected."""
    name = f"keyed-{server.port}"
    headers = {"Idempotency-Key": '"k"'}
    first, again = (
        server.request("POST", f"/counters/{name}/hits?amount=3", headers=headers) for _ in range(2)
    )
    assert first.json() == again.json() == {"name": name, "value": 3, "counted": True}
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    other = server.request("POST", f"/counters/{name}/hits", headers=headers)
    assert other.status_code == 422
    assert server.value(name) == 3


def amount_total(server):
    """Return the sum of the counted amounts from `/metrics`."""
    lines = server.request("GET", "/metrics").text.splitlines()
    (line,) = (line for line in lines if line.startswith("counter_added_total "))
    return float(line.split()[1])


def test_metrics_of_all_workers_add_up(server):
    """Any worker's scrape has the sums of all workers."""
    before = amount_total(server)
    with ThreadPoolExecutor(8) as pool:
        path = f"/counters/added-{server.port}/hits?amount=2"
        assert all(
            answer.ok for answer in pool.map(lambda _: server.request("POST", path), range(60))
        )
    assert {amount_total(server) - before for _ in range(10)} == {120.0}


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 512 KiB, called `metrics`."""
    folder = tmp_path / "metrics"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_recycled_workers_and_a_full_disk(start, small_disk):
    """Replaced workers leave no files behind, a full disk stops no worker, and metrics add up."""
    with start("gunicorn --workers=1 --max-requests=10 --bind=127.0.0.1:{port} {app}") as server:
        before = amount_total(server)
        for total in (30, 60):
            for _ in range(30):
                # A worker that is starting may take longer than the requests.
                path = f"/counters/recycled-{server.port}/hits"
                assert server.request("POST", path, timeout=60).json()["counted"]
            assert server.value(f"recycled-{server.port}") == total
            assert amount_total(server) - before == total
            assert len(list(small_disk.glob("*.meter"))) <= 2, "one, and that of one just ending"
            with suppress(OSError), (small_disk / "rest").open("wb", buffering=0) as rest:
                while True:
                    rest.write(bytes(4096))


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/nope", {}, 404),
        ("DELETE", "/count", {}, 405),
        ("POST", "/counters/a%20b/hits", {}, 400),
        ("POST", "/counters/bad/hits?amount=0", {}, 400),
        ("POST", "/counters/bad/hits?amount=%D9%A3", {}, 400),
        ("POST", "/counters/bad/hits", {"data": b"amount=2"}, 400),
        ("POST", "/counters/bad/hits", {"headers": {"Idempotency-Key": "a b"}}, 400),
        ("POST", "/counters/bad/hits", {"headers": {"Idempotency-Key": "ü".encode()}}, 400),
        ("GET", "/count", {"headers": {"Accept": "image/png"}}, 406),
        ("GET", "/counters/bad", {}, 404),
    ],
)
def test_client_error_is_a_problem(server, method, path, options, status):
    """A client error is a problem document, and nothing is counted."""
    answer = server.request(method, path, **options)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == status


def test_concurrent_hits(server):
    """Concurrent hits over many connections get distinct values."""
    before = server.value() if server.request("GET", "/counters/visits").ok else 0
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.request("POST", "/count").json(), range(200)))
    values = [answer["value"] for answer in answers]
    assert sorted(values) == list(range(before + 1, before + 201))


def test_store_outage(storeless):
    """During an outage the welcome page is served, and hits say that nothing was counted."""
    assert storeless.request("GET", "/").status_code == 200
    assert storeless.request("GET", "/readyz").status_code == 503
    answer = storeless.request("POST", "/count")
    assert answer.status_code == 503
    assert answer.json()["counted"] is False
    assert answer.headers["Retry-After"] == "1"
