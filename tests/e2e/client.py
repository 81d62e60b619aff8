"""A client with three connections: one listens, one is idle, one counts until it gets no response.

It runs in a container. Arguments: the host name of the service. It prints ``open``, later the
number of hits that were acknowledged.
"""

import socket
import sys
import threading

_TIMEOUT = 10  # seconds


class Connection:
    """A connection that stays open."""

    def __init__(self) -> None:
        self._socket = socket.create_connection((sys.argv[1], 5000), _TIMEOUT)

    def get(self, path: str) -> None:
        """Send a request; wait for the first part of its response.

        :raises OSError: none came.
        """
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: counter\r\n\r\n".encode())
        if not self._socket.recv(65536).startswith(b"HTTP/1.1 200 "):
            raise OSError("no response")


listener, idle, counting = Connection(), Connection(), Connection()
listener.get("/live")
idle.get("/count")
counting.get("/count")
acknowledged = 2
sys.stdout.write("open\n")
sys.stdout.flush()
try:
    while True:
        counting.get("/count")
        acknowledged += 1
except OSError:
    sys.stdout.write(f"acknowledged: {acknowledged}\n")
    sys.stdout.flush()
threading.Event().wait()  # the connections stay open
