"""Large responses, which slow clients must not pile up."""

import asyncio

import pytest

from flask_redis_counter.web import backpressure
from flask_redis_counter.web.backpressure import CHUNK, MAX_UNSENT, Outbox
from flask_redis_counter.web.bridge import Answer


class Client:
    """A client that reads a chunk each time that it is told to; and what it was sent."""

    def __init__(self, *, gone=False):
        self.status, self.body, self.chunks = None, b"", 0
        self.room = asyncio.Semaphore(0)
        self.gone = gone

    def response_bytes(self, status, headers, body):
        """Take a whole response."""
        self.status, self.body = status, body

    def response_stream(self, status, headers):
        """Begin a response."""
        self.status = status
        return self

    async def send_bytes(self, chunk):
        """Take a chunk once there is room for it."""
        if self.gone:
            raise RuntimeError("closed")
        await self.room.acquire()
        self.body += chunk
        self.chunks += 1


def answer(size):
    """Return a response of a size."""
    it = Answer()
    it("200 OK", [("Content-Length", str(size))])
    it.collect([b"x" * size])
    return it


@pytest.mark.parametrize(("size", "chunks"), [(CHUNK, 0), (CHUNK + 1, 2), (5 * CHUNK, 5)])
def test_a_large_response_is_sent_as_it_is_read(size, chunks):
    """It arrives whole; a small one is handed over at once."""

    async def run():
        client, outbox = Client(), Outbox()
        sending = asyncio.ensure_future(outbox.send(client, answer(size)))
        for _ in range(chunks):
            client.room.release()
        await sending
        assert (client.status, len(client.body), client.chunks) == (200, size, chunks)

    asyncio.run(run())


def test_what_waits_to_be_sent_is_bounded():
    """One more response becomes a small 503; there is room again once the others are gone."""

    async def run():
        outbox, size = Outbox(), MAX_UNSENT // 4
        slow = [Client() for _ in range(4)]
        sending = [asyncio.ensure_future(outbox.send(one, answer(size))) for one in slow]
        await asyncio.sleep(0)
        refused, small = Client(), Client()
        await outbox.send(refused, answer(size))
        await outbox.send(small, answer(100))
        assert (refused.status, small.status) == (503, 200)
        assert len(refused.body) < 1000
        sending[0].cancel()
        await asyncio.wait(sending[:1])
        sending.append(asyncio.ensure_future(outbox.send(last := Client(), answer(size))))
        await asyncio.sleep(0)
        assert last.status == 200
        for task in sending:
            task.cancel()
        await asyncio.wait(sending)
        assert outbox._unsent == 0

    asyncio.run(run())


@pytest.mark.parametrize("gone", [True, False])
def test_a_client_that_does_not_read_is_given_up(monkeypatch, gone):
    """After a while, or once it is gone; its response takes no room any more."""
    monkeypatch.setattr(backpressure, "CHUNK_TIMEOUT", 0.01)

    async def run():
        client, outbox = Client(gone=gone), Outbox()
        await outbox.send(client, answer(MAX_UNSENT))
        assert (client.chunks, outbox._unsent) == (0, 0)

    asyncio.run(run())
