"""Backpressure: a bound on the bytes that wait in a worker for clients that do not read them."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from .bridge import Answer

if TYPE_CHECKING:
    from granian._granian import RSGIHTTPProtocol as HTTPProtocol

#: Bytes that are handed to Granian at once; a larger response is streamed.
CHUNK = 16 * 1024

#: Bytes of all responses of a worker that are being streamed.
MAX_UNSENT = 8 * 1024 * 1024

#: Seconds within which a client has to make room for a chunk.
CHUNK_TIMEOUT = 10.0

_STATUS = HTTPStatus.SERVICE_UNAVAILABLE
_BUSY = (
    json.dumps(
        {
            "type": "about:blank",
            "title": _STATUS.phrase,
            "status": _STATUS.value,
            "detail": "Too many clients do not read their responses; try again in a moment.",
        }
    )
    + "\n"
).encode()
_BUSY_HEADERS = [
    ("Content-Type", "application/problem+json"),
    ("Cache-Control", "no-store"),
    ("Retry-After", "1"),
    ("Content-Length", str(len(_BUSY))),
    ("Connection", "close"),  # what else it sent ahead is not answered
]


class Outbox:
    """The large responses of a worker, which are sent as fast as their clients read.

    Granian takes a response whole, and keeps it for as long as the client likes.
    """

    def __init__(self) -> None:
        self._unsent = 0

    async def send(self, proto: HTTPProtocol, answer: Answer) -> None:
        """Send a response; one that does not fit in becomes a 503."""
        size = len(answer.body)
        if size <= CHUNK:
            answer.send(proto)
        elif self._unsent + size > MAX_UNSENT:
            proto.response_bytes(_STATUS, _BUSY_HEADERS, _BUSY)
        else:
            self._unsent += size
            try:
                await _stream(proto, answer)
            finally:
                self._unsent -= size


async def _stream(proto: HTTPProtocol, answer: Answer) -> None:
    stream = proto.response_stream(answer.status, answer.headers)
    try:
        for start in range(0, len(answer.body), CHUNK):
            async with asyncio.timeout(CHUNK_TIMEOUT):
                await stream.send_bytes(answer.body[start : start + CHUNK])
    except (TimeoutError, RuntimeError):  # Granian's, where the client is gone
        return  # the response stays shorter than it said, and so the connection is closed
