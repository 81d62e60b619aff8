"""Malformed messages and request smuggling through the load balancer."""

import json
import select
from contextlib import suppress

import pytest
from framing_cases import CASES
from raw_http import RawConnection

from flask_redis_counter.testing import ComposeStack
from flask_redis_counter.testing.stacks.project import make_project_name

from .conftest import BALANCER, FILES, ROOT, SCALE_FILES
from .support import read_value

pytestmark = pytest.mark.compose

#: Malformed messages that HAProxy rewrites into valid ones, as RFC 9112 allows a proxy: it forwards
#: its own line ends and spaces, one length, the newest version and no folded values.
REWRITTEN = {
    "LF for all line ends",
    "LF after the request line",
    "LF after a field",
    "LF at the end of the head",
    "a folded value",
    "a value folded with a tab",
    "a folded length",
    "a folded coding",
    "a line of whitespace",
    "a list of equal lengths",
    "two equal lengths",
    "length and coding",
    "coding and length",
    "coding and length 0",
    "an upgrade, length and coding",
    "a space after a chunk size",
    "LF after the trailers",
    "LF after a trailer",
    "a folded trailer",
    "NUL in an extension",
    "an open quote in an extension",
    "tabs in the request line",
    "two spaces before the target",
    "two spaces before the protocol",
    "LF before the request line",
    "two LF before the request line",
    "LF and an empty line before the request line",
    "LF before the request line after a hit",
    "LF after a counted body",
    "LF after a chunked body",
    "two equal Hosts",
    "a coding and a tab behind it",
    "version 1.2",
    "version 2.0",
    "version 3.0",
    "length and coding after a hit",
    "a folded value after a hit",
}

#: Cases without the preface of HTTP/2, which HAProxy understands.
HTTP1_CASES = [case for case in CASES if case.name != "the preface of HTTP/2"]


@pytest.fixture(scope="module")
def balanced(image):
    """The URL of the service behind a balancer that shares its connections among clients."""
    files = [*FILES, *SCALE_FILES, ROOT / "tests" / "e2e" / "docker-compose.reuse.yml"]
    project, scale = make_project_name("counter"), {"web": 1}
    with ComposeStack(files, project, endpoint=BALANCER, scale=scale) as up:
        yield up.url()


def exchange(port, sent, expected):
    """Send bytes, and return the final responses until the end, or until none comes any more.

    :param expected: number of responses after which another one would come at once.
    """
    responses = []
    with RawConnection(port) as connection:
        with suppress(ConnectionError):  # the balancer does not read what it has rejected
            connection.send(sent)
        with suppress(ConnectionResetError):
            while (
                select.select([connection], [], [], 0.05 if len(responses) >= expected else 1)[0]
                or connection.has_received
            ):
                response = connection.read()
                if response is None:
                    break
                if response.status != 100:
                    responses.append(response)
    return responses


@pytest.mark.parametrize("case", HTTP1_CASES, ids=lambda case: case.name)
def test_framing_behind_the_balancer(balanced, case):
    """A rejected message counts nothing, each hit has its response, the next client its own."""
    port = int(balanced.rpartition(":")[2])
    before = read_value(balanced)
    expected = 2 if case.name in REWRITTEN else len(case.statuses)
    responses = exchange(port, case.sent, expected)
    values = [json.loads(one.body)["value"] for one in responses if one.status == 200]
    assert values == list(range(before + 1, before + 1 + len(values)))
    messages = 3 if case.name.endswith("after a hit") else 2
    assert len(responses) <= messages, "bytes of a body were a request"
    if case.name not in REWRITTEN:
        for response, status in zip(responses, case.statuses, strict=False):
            assert status == 200 or response.status != 200
    for number in range(1, 3):
        with RawConnection(port) as other:
            name = f"other{CASES.index(case)}"
            other.send(f"POST /counters/{name}/hits HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            own = json.loads(other.read().body)
        assert own == {"name": name, "value": number, "counted": True}
    assert read_value(balanced) == before + len(values)
