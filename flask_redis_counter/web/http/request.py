"""A request, from its first byte until its response."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from .connection import HTTPConnection

#: Maximum number of header fields with different names.
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


UNSUPPORTED_VERSION = Rejection(
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "Send the request with HTTP/1.1."
)


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
    :ivar plan: the application's reading of a request that has no body; the connection hands it
        on to the next request if that is the same, byte for byte.
    """

    __slots__ = (
        "body",
        "connection",
        "headers",
        "is_exclusive",
        "keeps_alive",
        "method",
        "plan",
        "response",
        "started_at",
        "target",
        "version",
    )

    def __init__(
        self,
        connection: HTTPConnection,
        method: str = "",
        target: bytes = b"",
        headers: dict[str, str] | None = None,
        plan: Any = None,
    ) -> None:
        self.connection: HTTPConnection = connection
        self.method: str = method
        self.target: bytes = target
        self.headers: dict[str, str] = {} if headers is None else headers
        self.version: str = "1.1"
        self.body: bytes = b""
        self.keeps_alive: bool = True
        self.is_exclusive: bool = False
        self.started_at: float = 0.0
        self.response: bytes | None = None
        self.plan: Any = plan

    @property
    def has_body(self) -> bool:
        """Whether the head announces a body."""
        return "transfer-encoding" in self.headers or (
            self.headers.get("content-length", "0").strip("0") != ""
        )

    @property
    def asks_to_close(self) -> bool:
        """Whether an HTTP/1.0 client asks to close, which takes precedence over ``keep-alive``."""
        return self.version == "1.0" and "close" in self.headers.get("connection", "").lower()

    def add_header(self, name: bytes, value: bytes) -> None:
        """Add a header field."""
        key = _names.get(name)
        if key is None:
            key = name.decode("latin-1").lower()
            if len(_names) < _MAX_NAMES:
                _names[name] = key
        text = value.decode("latin-1").rstrip(" \t")
        if key in self.headers:
            text = f"{self.headers[key]},{text}"
        self.headers[key] = text

    def check_head(self, max_body_bytes: int) -> Rejection | None:
        """Return the reason to reject the request by its head, None if it is acceptable.

        llhttp has checked the syntax before.

        :param max_body_bytes: maximum announced length of the body.
        """
        headers = self.headers
        if self.version not in ("1.1", "1.0"):
            return UNSUPPORTED_VERSION
        if len(headers) > MAX_FIELDS:
            return Rejection(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"The request has more than {MAX_FIELDS} header fields: send fewer.",
            )
        host = headers.get("host")
        if "," in host if host is not None else self.version == "1.1":
            return Rejection(HTTPStatus.BAD_REQUEST, "Send one Host header.")
        if "transfer-encoding" in headers:
            if (rejection := self._check_transfer_encoding(headers)) is not None:
                return rejection
        elif "content-length" in headers:
            # Of any length: zeros may precede the number.
            length = headers["content-length"].lstrip("0")
            if len(length) > 9 or int(length or 0) > max_body_bytes:
                return body_too_large(max_body_bytes)
        if "expect" in headers and headers["expect"].lower() != "100-continue":
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
        if headers["transfer-encoding"].lower() != "chunked":
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
