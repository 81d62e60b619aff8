"""HTTP requests over a Unix socket."""

import http.client
import json
import socket
from contextlib import closing
from typing import NamedTuple


class UnixResponse(NamedTuple):
    """A response over a Unix socket."""

    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def json(self):
        """The body as JSON."""
        return json.loads(self.text)


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection to a Unix socket."""

    def __init__(self, path, timeout=10):
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self):
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

    def ask(self, method, target, **headers):
        """Send a request; hyphens in names of headers are written as underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.request(method, target, headers=named)
        response = self.getresponse()
        return UnixResponse(response.status, response.headers, response.read().decode())


def ask(path, method, target, **headers):
    """Send a request over a new connection."""
    with closing(UnixConnection(path)) as connection:
        return connection.ask(method, target, **headers)
