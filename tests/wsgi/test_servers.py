"""The same answers under every server that people run Flask with."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest


def test_forms(server):
    """JSON by default, a page for a browser, bare text; HEAD reads."""
    document = server.ask("GET", "/count").json()
    value = document["value"]
    assert document == {"name": "visits", "value": value, "counted": True}
    text = server.ask("POST", "/count", headers={"Accept": "text/plain"})
    assert text.text == f"{value + 1}\n"
    assert text.headers["Cache-Control"] == "no-store"
    page = server.ask("GET", "/count", headers={"Accept": "text/html"})
    assert page.headers["Content-Type"].startswith("text/html")
    assert f"{value + 2:,}" in page.text
    head = server.ask("HEAD", "/count")
    assert (head.status_code, head.content) == (200, b"")
    assert server.value() == value + 2


def test_a_key_counts_once(server):
    """And is told so; with another amount it is refused."""
    name = f"keyed-{server.port}"
    headers = {"Idempotency-Key": '"k"'}
    first, again = (
        server.ask("POST", f"/counters/{name}/hits?amount=3", headers=headers) for _ in range(2)
    )
    assert first.json() == again.json() == {"name": name, "value": 3, "counted": True}
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    other = server.ask("POST", f"/counters/{name}/hits", headers=headers)
    assert other.status_code == 422
    assert server.value(name) == 3


def added(server):
    """Return the sum of what counted, as `/metrics` has it."""
    lines = server.ask("GET", "/metrics").text.splitlines()
    (line,) = (line for line in lines if line.startswith("counter_added_total "))
    return float(line.split()[1])


def test_metrics_of_all_workers_add_up(server):
    """Whichever of them answers the scrape."""
    before = added(server)
    with ThreadPoolExecutor(8) as pool:
        path = f"/counters/added-{server.port}/hits?amount=2"
        assert all(answer.ok for answer in pool.map(lambda _: server.ask("POST", path), range(60)))
    assert {added(server) - before for _ in range(10)} == {120.0}


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 512 KiB, `metrics` as the servers here name it."""
    folder = tmp_path / "metrics"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_recycled_workers_and_a_full_disk(start, small_disk):
    """Workers that are replaced leave no files behind, a full disk stops none, and all is added."""
    with start("gunicorn --workers=1 --max-requests=10 --bind=127.0.0.1:{port} {app}") as server:
        before = added(server)
        for total in (30, 60):
            for _ in range(30):
                # A worker that is just starting may take longer than its requests.
                path = f"/counters/recycled-{server.port}/hits"
                assert server.ask("POST", path, timeout=60).json()["counted"]
            assert server.value(f"recycled-{server.port}") == total
            assert added(server) - before == total
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
def test_a_mistake_is_a_problem(server, method, path, options, status):
    """A document that says which, and nothing counted."""
    answer = server.ask(method, path, **options)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == status


def test_hits_at_once(server):
    """Each value once, over many connections."""
    before = server.value() if server.ask("GET", "/counters/visits").ok else 0
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.ask("POST", "/count").json(), range(200)))
    values = [answer["value"] for answer in answers]
    assert sorted(values) == list(range(before + 1, before + 201))


def test_no_store(lonely):
    """The welcome page, and an answer that says that nothing was counted."""
    assert lonely.ask("GET", "/").status_code == 200
    assert lonely.ask("GET", "/readyz").status_code == 503
    answer = lonely.ask("POST", "/count")
    assert answer.status_code == 503
    assert answer.json()["counted"] is False
    assert answer.headers["Retry-After"] == "1"
