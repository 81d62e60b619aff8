"""An HTTP/1.1 client that sends arbitrary bytes, and accepts only well-formed responses."""

import re
import socket
from dataclasses import dataclass

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [\x20-\x7e]*\r\n")
_FIELD = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?\r\n"
)
_CHUNK = re.compile(rb"([0-9a-f]+)\r\n")
_DATE = re.compile(rb"(?im)^date: [^\r\n]*\r\n")

#: Statuses whose responses have no body.
_NO_BODY = {204, 304}


@dataclass(frozen=True)
class Response:
    """One response.

    :ivar raw: its bytes.
    :ivar headers: the fields by lower-case names.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    raw: bytes

    @property
    def undated(self) -> bytes:
        """The bytes without the field Date."""
        return _DATE.sub(b"", self.raw)


class RawConnection:
    """A connection to a server on 127.0.0.1.

    :param timeout: seconds that sending and receiving may wait.
    :param receive_buffer: size of the kernel's buffer for received bytes; None: the default.
    """

    def __init__(
        self, port: int, timeout: float = 10, *, receive_buffer: int | None = None
    ) -> None:
        self._socket = socket.socket()
        self._socket.settimeout(timeout)
        self._timeout = timeout
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.connect(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = self._socket.makefile("rb")

    def __enter__(self) -> "RawConnection":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._socket.fileno()

    @property
    def port(self) -> int:
        """The local port."""
        return self._socket.getsockname()[1]

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._socket.sendall(data)

    def half_close(self) -> None:
        """End the request stream; responses can still be received."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the connection."""
        self._received.close()
        self._socket.close()

    def reset(self) -> None:
        """Close the connection with a TCP reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def read(self, *, head: bool = False) -> Response | None:
        """Return the next response, None if the server has closed the connection in order.

        :param head: whether it answers a HEAD request.
        :raises ConnectionResetError: the server has reset the connection.
        :raises TimeoutError: nothing came in time.
        """
        line = self._received.readline()
        if not line:
            return None
        status_line = _STATUS_LINE.fullmatch(line)
        assert status_line, f"not a status line: {line!r}"
        status, raw, headers = int(status_line[1]), [line], {}
        while (line := self._received.readline()) != b"\r\n":
            field = _FIELD.fullmatch(line)
            assert field, f"not a header field: {line!r}"
            name = field[1].decode().lower()
            assert name not in headers, f"{name} is repeated"
            headers[name] = field[2].decode()
            raw.append(line)
        raw.append(line)
        body = b""
        if status >= 200 and status not in _NO_BODY and not head:
            body = self._read_body(headers)
        raw.append(body)
        return Response(status, headers, body, b"".join(raw))

    def read_all(self) -> list[Response]:
        """Return all responses until the server closes the connection."""
        responses = []
        while (response := self.read()) is not None:
            responses.append(response)
        return responses

    @property
    def has_received(self) -> bool:
        """Whether bytes have been received that were not returned yet."""
        self._socket.setblocking(False)
        try:
            return bool(self._received.peek())
        finally:
            self._socket.settimeout(self._timeout)

    def _read_body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            assert "content-length" not in headers
            chunks = []
            while True:
                size = _CHUNK.fullmatch(self._received.readline())
                assert size, "not a chunk size"
                chunks.append(self._received.read(int(size[1], 16)))
                assert self._received.read(2) == b"\r\n"
                if not chunks[-1]:
                    return b"".join(chunks)
        assert re.fullmatch("0|[1-9][0-9]*", headers.get("content-length", "")), headers
        length = int(headers["content-length"])
        body = self._received.read(length)
        assert len(body) == length, "the response is cut short"
        return body
