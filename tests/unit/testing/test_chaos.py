"""The chaos test injects every kind of fault, and finds wrong counts."""

import json
import tempfile
import threading
from collections import Counter
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice

import pytest

from flask_redis_counter.testing import Endpoint, run_chaos
from flask_redis_counter.testing.faults.nemesis import plan
from flask_redis_counter.testing.workload import chaos
from flask_redis_counter.testing.workload.chaos import FAULTS

from .recording import RecordingStack


@pytest.mark.parametrize("seed", range(20))
def test_plan_has_every_kind(seed):
    """Each kind occurs once before one occurs again, within the limits."""
    faults = list(islice(plan(FAULTS, seed, max_duration=2, max_pause=3), 3 * len(FAULTS)))
    for start in range(0, len(faults), len(FAULTS)):
        assert {fault.kind for fault in faults[start : start + len(FAULTS)]} == FAULTS.keys()
    assert all(0 <= fault.duration <= 2 and 0 <= fault.pause <= 3 for fault in faults)


class PretendStack(RecordingStack):
    """A stack with a counter in this process, which is correct by default.

    :param lost: number of a hit that it acknowledges and does not count.
    :param failing: number of a hit that gets a 500.
    :param missing_in_days: number of hits that are missing in its days.
    """

    kind = "pretend"

    def __init__(self, *, lost=None, failing=None, missing_in_days=0):
        super().__init__(replicas=2)
        self.endpoint = Endpoint("web", 5000, ready_path="/readyz")
        self.values = {}
        self._values_by_key = {}
        self._hits = 0
        self._lost = lost
        self._failing = failing
        self._missing_in_days = missing_in_days
        self._is_down = False
        self._lock = threading.Lock()

    def record_call(self, *words, replica=None):
        """Record the call, and be down while the service is not running."""
        super().record_call(*words, replica=replica)
        self._is_down = "running" not in self._status or words[0] == "isolate"

    def respond(self, path, key):
        """Return the status and the document of a response."""
        with self._lock:
            if self._is_down and path != "/readyz":
                return 503, {"counted": False}
            if path.endswith("/series"):
                hits = self.values.get(path.split("/")[2], self._missing_in_days)
                return 200, {"series": [{"hits": 0}, {"hits": hits - self._missing_in_days}]}
            name, counting = path.removeprefix("/counters/").removesuffix("/hits"), "/hits" in path
            if not counting or key in self._values_by_key:
                value = self._values_by_key.get(key, self.values.get(name))
                return (200, {"value": value}) if value is not None else (404, {})
            self._hits += 1
            if self._hits == self._failing:
                return 500, {"title": "a bug"}
            value = self.values.get(name, 0) + 1
            if self._hits != self._lost:
                self.values[name] = value
            if key:
                self._values_by_key[key] = value
            return 200, {"value": value}

    def up(self, *services):
        """Start the server."""
        stack = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = (
                65536  # otherwise each response waits for the TCP acknowledgement of its headers
            )

            def do_GET(self):
                key = self.headers.get("Idempotency-Key")
                status, document = stack.respond(self.path, key)
                if self.path == "/readyz":
                    status = 200
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815  # http.server's name

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever).start()

    def down(self, *, volumes=False):
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()

    def kill(self, service, *, replica=None):
        """Stay up if only one replica is killed."""
        super().kill(service, replica=replica)
        self._is_down = replica is None

    def address(self, service, port):
        """Return the server's address."""
        return "127.0.0.1", self._server.server_port


run_briefly = partial(
    run_chaos, seconds=0, seed=1, keyed_clients=2, unkeyed_clients=2, mixed_clients=2, max_pause=0
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    monkeypatch.setattr(chaos, "MAX_FAULT_SECONDS", 0.05)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_run_chaos_accepts_correct_counter():
    """Each kind of fault is injected and cleared."""
    with PretendStack() as stack:
        report = run_briefly(stack)
        assert report.faults == dict.fromkeys(FAULTS, 1)
        expected = (
            "kill redis, start redis, pause redis, unpause redis, stop redis, start redis, "
            "isolate redis, reconnect redis, kill web, start web, kill web 0, start web 0"
        )
        assert sorted(stack.calls) == sorted(expected.split(", "))
        assert stack.values == {
            name: result.acknowledged for name, result in report.results.items()
        }
    assert all(result.acknowledged >= 350 for result in report.results.values())
    assert "seed 1" in str(report)
    assert "6 faults" in str(report)
    assert "0 lost; 0 duplicated" in str(report)


def test_run_chaos_injects_given_faults():
    """Faults of the caller take the place of those of this project's stack."""
    own = {"web stopped": lambda faults: faults.stopped("web")}
    with PretendStack() as stack:
        report = run_briefly(stack, faults=own, undetectable=own)
    assert report.faults == {"web stopped": 1}
    assert stack.calls == ["stop web", "start web"]


@pytest.mark.parametrize("lost", [0, 100])
def test_run_chaos_with_failovers_waits_for_the_sum(monkeypatch, lost):
    """Hits that are sent again are waited for, but not for ever."""
    monkeypatch.setattr(chaos, "RECOVERY_TIMEOUT", 5.0)
    reads = Counter()
    read_value = chaos._read_value

    def read_late(url, counter):
        # The second read of each counter comes before the last hit was sent again.
        reads[counter] += 1
        return read_value(url, counter) - (reads[counter] == 2)

    monkeypatch.setattr(chaos, "_read_value", read_late)
    with PretendStack(lost=lost) as stack:
        run = partial(run_briefly, stack, allows_failovers=True)
        if lost:
            with pytest.raises(AssertionError, match="lost: 1"):
                run()
        else:
            assert all(not result.lost for result in run().results.values())


def test_run_chaos_finds_one_lost_hit(tmp_path):
    """A note on the error names the seed and the folder with the history."""
    with pytest.raises(AssertionError, match="lost: 1") as error, PretendStack(lost=100) as stack:
        run_briefly(stack, seed=5)
    (note,) = error.value.__notes__
    (folder,) = tmp_path.iterdir()
    assert note == f"seed 5; the complete history is in {folder}"
    assert len((folder / "faults.jsonl").read_text().splitlines()) == len(FAULTS)
    for counter in ("keyed", "unkeyed", "mixed"):
        operations = (folder / f"{counter}.jsonl").read_text().splitlines()
        assert {json.loads(line)["kind"] for line in operations} == {"hit", "read"}


def test_run_chaos_finds_hit_missing_in_days():
    """The counter's value has the hit, its days do not."""
    with (
        pytest.raises(AssertionError, match=r"the days have \d+ of \d+ hits"),
        PretendStack(missing_in_days=1) as stack,
    ):
        run_briefly(stack)


def test_run_chaos_fails_on_server_error():
    """A 500 is a bug, not an outage."""
    with (
        pytest.raises(AssertionError, match="/hits returned 500"),
        PretendStack(failing=100) as stack,
    ):
        run_briefly(stack)
