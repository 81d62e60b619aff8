"""The parser reads a message alike, however it arrives."""

import tracemalloc

import pytest
from framing_cases import CASES

from flask_redis_counter.web.http.parser import RequestParser
from flask_redis_counter.web.http.rejection import RejectedError


def parse(pieces):
    """Return what a connection reads: requests, and the status of a rejection at the end."""
    found = []

    def received(request):
        fields = tuple(request.headers.items())
        found.append((request.method, request.target, request.body, fields, request.keeps_alive))

    parser = RequestParser(None, 65_536, received)
    try:
        for piece in pieces:
            start = 0
            while start < len(piece) and not parser.is_ended:
                start = parser.feed(piece, start)
    except RejectedError as error:
        # 400 or 501: whether a method is unknown or malformed is said as soon as it is wrong.
        found.append({501: 400}.get(error.rejection.status, error.rejection.status))
    return found


@pytest.mark.parametrize(
    "case", [one for one in CASES if len(one.sent) < 2000], ids=lambda case: case.name
)
def test_messages_in_two_pieces(case):
    """Wherever the bytes are cut, the requests and the first rejection are the same."""
    whole = parse([case.sent])
    assert whole
    for cut in range(1, len(case.sent)):
        assert parse([case.sent[:cut], case.sent[cut:]]) == whole


@pytest.mark.parametrize(
    "received",
    [16_000 * b"\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: " + 200_000 * b"a"],
    ids=["empty lines", "a rejected head"],
)
def test_parser_keeps_no_bytes_of_no_use(received):
    """Empty lines and rejected heads, which the limit of held bytes does not count, are dropped."""
    tracemalloc.start()
    try:
        parser = RequestParser(None, 65_536, lambda _: None)
        before = tracemalloc.get_traced_memory()[0]
        try:
            parser.feed(bytes(received), 0)
        except RejectedError:
            parser.abandon()
        assert tracemalloc.get_traced_memory()[0] - before < 5_000
    finally:
        tracemalloc.stop()
