"""The chaos's own promises: the same seed brings the same faults, and a lie does not pass."""

import json
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice

import pytest

from flask_redis_counter.testing import Endpoint, run_chaos
from flask_redis_counter.testing.faults.nemesis import plan
from flask_redis_counter.testing.workload import chaos
from flask_redis_counter.testing.workload.chaos import FAULTS

from .recording import RecordingStack


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_has_every_kind(seed):
    """Each comes once before one comes again, and all within their bounds."""
    faults = list(islice(plan(FAULTS, seed, max_duration=2, max_pause=3), 3 * len(FAULTS)))
    for start in range(0, len(faults), len(FAULTS)):
        assert {fault.kind for fault in faults[start : start + len(FAULTS)]} == FAULTS.keys()
    assert all(0 <= fault.duration <= 2 and 0 <= fault.pause <= 3 for fault in faults)


class PretendStack(RecordingStack):
    """A counter in this process, correct unless told otherwise, that remembers its faults.

    :param lost: the number of a hit that it acknowledges and does not count.
    :param failing: the number of a hit that it answers with a 500.
    :param forgotten: how many hits its days do not have.
    """

    kind = "pretend"

    def __init__(self, *, lost=None, failing=None, forgotten=0):
        super().__init__(replicas=2)
        self.endpoint = Endpoint("web", 5000, ready_path="/readyz")
        self.values = {}
        self._tokens = {}
        self._hits = 0
        self._lost = lost
        self._failing = failing
        self._forgotten = forgotten
        self._away = False
        self._lock = threading.Lock()

    def remember(self, *words, replica=None):
        """Be away while it is not running."""
        super().remember(*words, replica=replica)
        self._away = "running" not in self._status or words[0] == "isolate"

    def answer(self, path, idempotency_key):
        """Return status and document."""
        with self._lock:
            if self._away and path != "/readyz":
                return 503, {"counted": False}
            if path.endswith("/series"):
                hits = self.values.get(path.split("/")[2], self._forgotten)
                return 200, {"series": [{"hits": 0}, {"hits": hits - self._forgotten}]}
            name, counting = path.removeprefix("/counters/").removesuffix("/hits"), "/hits" in path
            if not counting or idempotency_key in self._tokens:
                value = self._tokens.get(idempotency_key, self.values.get(name))
                return (200, {"value": value}) if value is not None else (404, {})
            self._hits += 1
            if self._hits == self._failing:
                return 500, {"title": "a bug"}
            value = self.values.get(name, 0) + 1
            if self._hits != self._lost:
                self.values[name] = value
            if idempotency_key:
                self._tokens[idempotency_key] = value
            return 200, {"value": value}

    def up(self, *services):
        """Serve."""
        stack = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 65536  # else each answer waits for an acknowledgement of its headers

            def do_GET(self):
                idempotency_key = self.headers.get("Idempotency-Key")
                status, document = stack.answer(self.path, idempotency_key)
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
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()

    def kill(self, service, *, replica=None):
        """Serve on with one replica less."""
        super().kill(service, replica=replica)
        self._away = replica is None

    def address(self, service, port):
        """Say where it serves."""
        return "127.0.0.1", self._server.server_port


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    monkeypatch.setattr(chaos, "MAX_FAULT_SECONDS", 0.05)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_correct_counter_passes():
    """After every kind of fault, which is healed, with some of all that a client can be told."""
    with PretendStack() as stack:
        report = run_chaos(
            stack,
            seconds=0,
            seed=1,
            keyed_clients=2,
            unkeyed_clients=2,
            mixed_clients=2,
            max_pause=0,
        )
        assert report.faults == dict.fromkeys(FAULTS, 1)
        harms_and_cures = (
            "kill redis, start redis, pause redis, unpause redis, stop redis, start redis, "
            "isolate redis, reconnect redis, kill web, start web, kill web 0, start web 0"
        )
        assert sorted(stack.told) == sorted(harms_and_cures.split(", "))
        assert stack.values == {
            name: verdict.acknowledged for name, verdict in report.results.items()
        }
    assert all(verdict.acknowledged >= 350 for verdict in report.results.values())
    assert "seed 1" in str(report)
    assert "6 faults" in str(report)
    assert "0 lost; 0 duplicated" in str(report)


def test_one_lost_hit_of_many_is_found(tmp_path):
    """The error names the seed, and the folder that has it all."""
    with pytest.raises(AssertionError, match="lost: 1") as error, PretendStack(lost=100) as stack:
        run_chaos(
            stack,
            seconds=0,
            seed=5,
            keyed_clients=2,
            unkeyed_clients=2,
            mixed_clients=2,
            max_pause=0,
        )
    (note,) = error.value.__notes__
    (folder,) = tmp_path.iterdir()
    assert note == f"seed 5; the complete history is in {folder}"
    assert len((folder / "faults.jsonl").read_text().splitlines()) == len(FAULTS)
    for counter in ("keyed", "unkeyed", "mixed"):
        operations = (folder / f"{counter}.jsonl").read_text().splitlines()
        assert {json.loads(line)["kind"] for line in operations} == {"hit", "read"}


def test_a_hit_that_is_in_no_day_is_found():
    """The counter has it, and so all else is right."""
    with (
        pytest.raises(AssertionError, match=r"the days have \d+ of \d+ hits"),
        PretendStack(forgotten=1) as stack,
    ):
        run_chaos(
            stack,
            seconds=0,
            seed=1,
            keyed_clients=2,
            unkeyed_clients=2,
            mixed_clients=2,
            max_pause=0,
        )


def test_an_answer_that_may_not_be_given_ends_it():
    """A 500 is a bug, not an outage."""
    with (
        pytest.raises(AssertionError, match="/hits returned 500"),
        PretendStack(failing=100) as stack,
    ):
        run_chaos(
            stack,
            seconds=0,
            seed=1,
            keyed_clients=2,
            unkeyed_clients=2,
            mixed_clients=2,
            max_pause=0,
        )
