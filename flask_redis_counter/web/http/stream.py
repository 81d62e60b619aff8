"""A response that is sent piece by piece (chunked, RFC 9112, section 7.1)."""

from __future__ import annotations

from collections.abc import Callable

from .request import Request
from .response import render_head


class ResponseStream:
    """The stream that answers an exclusive request; its head is sent at once.

    :param headers: names and values, without ``Content-Length``.
    :param closed: called once: at :meth:`end`, or when the connection is lost.
    """

    def __init__(
        self, request: Request, headers: list[tuple[str, str]], closed: Callable[[], None]
    ) -> None:
        self._request = request
        self._closed: Callable[[], None] | None = closed
        self._is_chunked = request.version != "1.0"
        if self._is_chunked:
            headers = [*headers, ("Transfer-Encoding", "chunked")]
        else:
            request.keeps_alive = False  # the end of the connection ends the body
        request.connection.open_stream(render_head(200, headers, request), self._close)

    @property
    def is_writable(self) -> bool:
        """Whether the stream is open, and the client reads."""
        return self._closed is not None and self._request.connection.is_writable

    def send(self, data: bytes) -> None:
        """Send a piece, which must not be empty."""
        if self._closed is not None:
            if self._is_chunked:
                data = b"%x\r\n%b\r\n" % (len(data), data)
            self._request.connection.write(data)

    def end(self) -> None:
        """End the response."""
        if self._closed is not None:
            self._close()
            end = b"0\r\n\r\n" if self._is_chunked else b""
            self._request.connection.end_stream(self._request, end)

    def _close(self) -> None:
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()
