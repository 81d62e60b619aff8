"""A request, from its first byte until its response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .rejection import (
    AMBIGUOUS_LENGTH,
    BAD_EXPECTATION,
    MALFORMED_TARGET,
    NO_PROXY,
    NO_SINGLE_HOST,
    UNKNOWN_CODING,
    UNSUPPORTED_VERSION,
    RejectedError,
    body_too_large,
    too_many_fields,
)

if TYPE_CHECKING:
    from .connection import HTTPConnection

#: Maximum number of header fields with different names.
MAX_FIELDS = 100

#: Maximum number of spellings of header names that are cached.
_MAX_NAMES = 512

# Lower-case names of headers by the bytes that clients send: most of them send the same ones.
_names: dict[bytes, str] = {}

_SECOND_HOST = "\n"


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
    :ivar started_at: arrival of the last byte, by :func:`time.perf_counter`; of a rejected request
        the first byte of the head, or the end of the head if the body is not complete.
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
    def length(self) -> int:
        """Announced bytes of the body, without chunks; the head was checked before."""
        return int(self.headers.get("content-length", "0").lstrip("0") or 0)

    @property
    def asks_to_close(self) -> bool:
        """Whether the client asks to close, which takes precedence over ``keep-alive``."""
        return "close" in self.headers.get("connection", "").lower()

    def add_header(self, name: bytes, value: bytes) -> None:
        """Add a header field."""
        key = _names.get(name)
        if key is None:
            key = name.decode("latin-1").lower()
            if len(_names) < _MAX_NAMES:
                _names[name] = key
        text = value.decode("latin-1").rstrip(" \t")
        if key in self.headers:
            # A line break cannot be in a value: it marks a host that is not the only one.
            text = f"{self.headers[key]}{_SECOND_HOST if key == 'host' else ','}{text}"
        self.headers[key] = text

    def check_head(self, max_body_bytes: int) -> None:
        """Check the head, whose syntax the parser has checked.

        :param max_body_bytes: maximum announced length of the body.
        :raises RejectedError: the head is not acceptable.
        """
        headers = self.headers
        if self.version not in ("1.1", "1.0"):
            raise RejectedError(UNSUPPORTED_VERSION)
        if len(headers) > MAX_FIELDS:
            raise RejectedError(too_many_fields(MAX_FIELDS))
        host = headers.get("host")
        if _SECOND_HOST in host if host is not None else self.version == "1.1":
            raise RejectedError(NO_SINGLE_HOST)
        if "transfer-encoding" in headers:
            if self.version == "1.0" or "content-length" in headers:
                raise RejectedError(AMBIGUOUS_LENGTH)
            if headers["transfer-encoding"].lower() != "chunked":
                raise RejectedError(UNKNOWN_CODING)
        elif "content-length" in headers:
            # Of any length: zeros may precede the number.
            digits = headers["content-length"].lstrip("0")
            if len(digits) > 9 or self.length > max_body_bytes:
                raise RejectedError(body_too_large(max_body_bytes))
        if "expect" in headers and headers["expect"].lower() != "100-continue":
            raise RejectedError(BAD_EXPECTATION)
        if self.method == "CONNECT":
            raise RejectedError(NO_PROXY)
        if not self.target.startswith(b"/"):
            self._normalize_target()
        if b"#" in self.target:
            raise RejectedError(MALFORMED_TARGET)

    def _normalize_target(self) -> None:
        """Turn a target in absolute form into the path, and its authority into ``Host``."""
        if self.target == b"*" and self.method == "OPTIONS":
            return
        try:
            url = urlsplit(self.target.decode("ascii"))
        except ValueError as error:  # also UnicodeDecodeError
            raise RejectedError(MALFORMED_TARGET) from error
        is_http = url.scheme.lower() in ("http", "https")
        if not (is_http and url.netloc) or "@" in url.netloc or url.fragment:
            raise RejectedError(MALFORMED_TARGET)
        # The authority of the target takes precedence (RFC 9112, section 3.2.2).
        self.headers["host"] = url.netloc
        query = f"?{url.query}" if url.query else ""
        self.target = f"{url.path or '/'}{query}".encode()
