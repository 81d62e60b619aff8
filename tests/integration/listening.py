"""Many listeners to live events in one event loop, as raw connections."""

import asyncio
import re
import resource

_VALUE = re.compile(rb'"value": (\d+)')


def allow_files(number):
    """Raise the limit of open files of this process, which new processes inherit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))


class RawListener(asyncio.Protocol):
    """A client that reads events.

    :ivar status: status of the response; None until it has arrived.
    :ivar values: received values, the oldest first.
    :ivar ended: whether the stream has ended properly.
    :ivar lost: whether the connection is closed.
    """

    def __init__(self):
        self.status = None
        self.values = []
        self.ended = self.lost = False
        self._transport = None

    def connection_made(self, transport):
        """Send the request."""
        self._transport = transport
        transport.write(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")

    def data_received(self, data):
        """Note status, values and the end. Loopback does not split the server's small writes."""
        if self.status is None:
            self.status = int(data[9:12])
        self.values += map(int, _VALUE.findall(data))
        self.ended = data.endswith(b"0\r\n\r\n")

    def connection_lost(self, _error):
        """Note the end."""
        self.lost = True

    def close(self):
        """Disconnect."""
        self._transport.abort()


async def open_listeners(port, number):
    """Open listeners, 50 at a time."""
    loop = asyncio.get_running_loop()
    listeners = []
    for _ in range(number // 50):
        connecting = [loop.create_connection(RawListener, "127.0.0.1", port) for _ in range(50)]
        new = [listener for _, listener in await asyncio.gather(*connecting)]
        await until(lambda new=new: all(one.status for one in new))
        listeners += new
    return listeners


async def until(look):
    """Wait for a condition in the event loop."""
    async with asyncio.timeout(30):
        while not look():
            await asyncio.sleep(0.01)
