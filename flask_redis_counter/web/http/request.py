"""A request, from its first byte until its response."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from .connection import HTTPConnection

#: Maximum number of header fields.
MAX_FIELDS = 100

#: Maximum number of spellings of header names that are cached.
_MAX_NAMES = 512

# Lower-case names of headers by the bytes that clients send: most of them send the same ones.
_names: dict[bytes, str] = {}


class Rejection(NamedTuple):
    """Reason why a connection rejects a request before it reaches the application.

    :ivar status: status of the response.
    :ivar detail: cause, for a person.
    """

    status: HTTPStatus
    detail: str


def body_too_large(max_bytes: int) -> Rejection:
    """Return the rejection of a body with more than the maximum number of bytes."""
    return Rejection(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {max_bytes} bytes."
    )


class Request:
    """A request, and its response once there is one.

    :ivar connection: its connection.
    :ivar method: the method.
    :ivar target: the request target (RFC 9112, section 3.2), undecoded.
    :ivar headers: values by lower-case names. Repeated fields are joined with commas.
    :ivar version: ``1.0`` or ``1.1``.
    :ivar body: the body, decoded from chunks; ``b""`` if there is none.
    :ivar keeps_alive: whether the connection stays open after the response.
    :ivar is_exclusive: whether the connection starts no other request before the response.
    :ivar started_at: arrival of the last byte, by :func:`time.perf_counter`.
    :ivar response: the response, or None.
    """

    __slots__ = (
        "_fields",
        "body",
        "connection",
        "headers",
        "is_exclusive",
        "keeps_alive",
        "method",
        "response",
        "started_at",
        "target",
        "version",
    )

    def __init__(self, connection: HTTPConnection) -> None:
        self.connection: HTTPConnection = connection
        self.method: str = ""
        self.target: bytes = b""
        self.headers: dict[str, str] = {}
        self._fields = 0
        self.version: str = "1.1"
        self.body: bytes = b""
        self.keeps_alive: bool = True
        self.is_exclusive: bool = False
        self.started_at: float = 0.0
        self.response: bytes | None = None

    def add_header(self, name: bytes, value: bytes) -> None:
        """Add a header field."""
        self._fields += 1
        key = _names.get(name)
        if key is None:
            key = name.decode("latin-1").lower()
            if len(_names) < _MAX_NAMES:
                _names[name] = key
        text = value.decode("latin-1")
        if key in self.headers:
            if key == "host":
                text = ""  # ambiguous, and rejected
            text = f"{self.headers[key]},{text}"
        self.headers[key] = text

    def check_head(self, max_body_bytes: int) -> Rejection | None:
        """Return the reason to reject the request by its head, None if it is acceptable.

        llhttp has checked the syntax before.

        :param max_body_bytes: maximum announced length of the body.
        """
        headers = self.headers
        if self.version not in ("1.1", "1.0"):
            return Rejection(
                HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "Send the request with HTTP/1.1."
            )
        if self._fields > MAX_FIELDS:
            return Rejection(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"The request has more than {MAX_FIELDS} header fields: send fewer.",
            )
        if "host" not in headers and self.version == "1.1":
            return Rejection(HTTPStatus.BAD_REQUEST, "The Host header is missing: send it.")
        if "transfer-encoding" in headers:
            if (rejection := self._check_transfer_encoding(headers)) is not None:
                return rejection
        elif int(headers.get("content-length", 0)) > max_body_bytes:
            return body_too_large(max_body_bytes)
        if headers.get("expect", "100-continue").lower() != "100-continue":
            return Rejection(
                HTTPStatus.EXPECTATION_FAILED, "The only supported expectation is 100-continue."
            )
        if self.method == "CONNECT":
            return Rejection(HTTPStatus.NOT_IMPLEMENTED, "This server is no proxy for CONNECT.")
        if not self.target.startswith(b"/"):
            return self._check_target()
        return Rejection(*_BAD_TARGET) if b"#" in self.target else None

    def _check_transfer_encoding(self, headers: Mapping[str, str]) -> Rejection | None:
        if self.version == "1.0" or "content-length" in headers:
            return Rejection(
                HTTPStatus.BAD_REQUEST,
                "Send Transfer-Encoding with HTTP/1.1 and without Content-Length.",
            )
        if headers["transfer-encoding"].strip().lower() != "chunked":
            return Rejection(
                HTTPStatus.NOT_IMPLEMENTED, "The only supported Transfer-Encoding is chunked."
            )
        return None

    def _check_target(self) -> Rejection | None:
        """Turn a target in absolute form into the path, and its authority into ``Host``."""
        if self.target == b"*" and self.method == "OPTIONS":
            return None
        try:
            url = urlsplit(self.target.decode("ascii"))
        except ValueError:  # also UnicodeDecodeError
            return Rejection(*_BAD_TARGET)
        if url.scheme.lower() not in ("http", "https") or not url.netloc or "@" in url.netloc:
            return Rejection(*_BAD_TARGET)
        # The authority of the target takes precedence (RFC 9112, section 3.2.2).
        self.headers["host"] = url.netloc
        query = f"?{url.query}" if url.query else ""
        self.target = f"{url.path or '/'}{query}".encode()
        return Rejection(*_BAD_TARGET) if url.fragment else None


_BAD_TARGET = (
    HTTPStatus.BAD_REQUEST,
    "The request target is malformed: send a path that starts with a slash.",
)
