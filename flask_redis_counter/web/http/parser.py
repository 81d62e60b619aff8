"""Parses the bytes of a connection into requests.

The parser is llhttp, by httptools, in its strict mode. It parses one message at a time: a piece of
the received bytes that ends with a head or with a body. So a client that sends many requests at
once occupies little memory, a rejected message is the last one of its connection, and each message
begins with a piece: its request line can be checked more strictly than llhttp does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httptools

from .rejection import (
    MALFORMED,
    UNKNOWN_METHOD,
    UNSUPPORTED_VERSION,
    RejectedError,
    body_too_large,
    head_too_large,
    target_too_long,
)
from .request import Request

if TYPE_CHECKING:
    from .connection import HTTPConnection

#: Maximum bytes of a request's target: its path and query.
MAX_TARGET_BYTES = 16 * 1024

#: Maximum bytes of a head: request line and header fields.
MAX_HEAD_BYTES = 32 * 1024

#: Maximum bytes of a message with the framing of its chunks, as a multiple of the body's limit.
MAX_CHUNK_OVERHEAD = 8

# A request line, perhaps after empty lines. llhttp also takes other spaces, line ends before it,
# and the protocols RTSP and ICE.
_REQUEST_LINE = re.compile(rb"(?:\r\n)*[A-Z-]+ [^ \r\n]+ HTTP/\d\.\d\r\n")
# The method at the beginning of a head; the second one may be incomplete.
_METHOD = re.compile(rb"(?:\r\n)*([A-Z]+) ")
_METHOD_SO_FAR = re.compile(rb"(?:\r\n)*[A-Z]+(?: |\Z)")
_END_OF_HEAD = b"\r\n\r\n"


class RequestParser:
    """Parser of one connection.

    :param connection: the connection of the requests.
    :param max_body_bytes: maximum bytes of a body.
    :param received: called with each complete request; :meth:`feed` returns after it.
    :ivar request: the request that is being received, or was received last.
    :ivar is_receiving: whether a part of a request has arrived.
    :ivar has_head: whether its head is complete.
    :ivar awaits_continue: whether the client waits for ``100 Continue`` before it sends the body.
    :ivar is_ended: whether the last request was received: further bytes are ignored.
    :ivar has_more: whether more bytes have come behind the piece that was parsed last.
    :ivar message_bytes: bytes of the message so far.
    :ivar last_message_bytes: bytes of the last complete message.
    """

    __slots__ = (
        "_body",
        "_body_bytes",
        "_connection",
        "_head",
        "_is_muted",
        "_length",
        "_max_body_bytes",
        "_parser",
        "_received",
        "_tail",
        "awaits_continue",
        "has_head",
        "has_more",
        "is_ended",
        "is_receiving",
        "last_message_bytes",
        "message_bytes",
        "request",
    )

    def __init__(
        self,
        connection: HTTPConnection,
        max_body_bytes: int,
        received: Callable[[Request], None],
    ) -> None:
        self._connection = connection
        self._max_body_bytes = max_body_bytes
        self._received = received
        self._parser: Any = httptools.HttpRequestParser(self)
        self._is_muted = False
        self._body: list[bytes] = []
        self._body_bytes = 0
        # Bytes of the head that is being received.
        self._head = b""
        # The last three bytes, while an empty line is searched.
        self._tail = b""
        # Announced bytes of the body; -1: it is chunked.
        self._length = 0
        self.request: Request = Request(connection)
        self.is_receiving: bool = False
        self.has_head: bool = False
        self.awaits_continue: bool = False
        self.is_ended: bool = False
        self.has_more: bool = False
        self.message_bytes: int = 0
        self.last_message_bytes: int = 0

    def feed(self, data: bytes, start: int) -> int:
        """Parse a piece of a message: the bytes up to the end of a head or of a body, or all.

        :param data: received bytes.
        :param start: offset of the first byte to parse.
        :returns: offset of the next piece.
        :raises RejectedError: the message is not acceptable; the parser has ended.
        """
        is_body = self.is_receiving and self.has_head
        if is_body and self._length >= 0:
            end = min(len(data), start + self._length - self._body_bytes)
        else:
            end = self._find_end(data, start)
        piece = data if end - start == len(data) else data[start:end]
        self.has_more = end < len(data)
        self.message_bytes += len(piece)
        if not is_body:
            self._head += piece
        try:
            self._parser.feed_data(piece)
            self._check_size()
        except httptools.HttpParserUpgrade as upgrade:
            end = start + upgrade.args[0]
            self._ignore_upgrade()
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, RejectedError):
                raise
            self._end_with(error.__context__)
        except httptools.HttpParserError as error:
            self._end_with(_explain(error, self._head))
        except RejectedError as error:
            self._end_with(error)
        if self._head and not self.is_receiving:
            self._forget_empty_lines()
        return end

    def abandon(self) -> Request | None:
        """Parse nothing more, and drop what was received.

        :returns: the request that was being received, with its method if that has arrived; or None.
        """
        request = self.request if self.is_receiving else None
        if request is not None and not self.has_head and (found := _METHOD.match(self._head)):
            request.method = found[1].decode("ascii")
        self.is_ended = True
        self.is_receiving = self.awaits_continue = False
        self.message_bytes = 0
        self._head = self._tail = b""
        self._parser = None  # it holds what has arrived of a header
        return request

    def close(self) -> None:
        """Drop the references to the connection, also those of httptools' parser."""
        self.is_ended = True
        del self._parser, self._received, self._connection, self.request

    # Callbacks of httptools

    def on_message_begin(self) -> None:
        """Start to receive a request, with the first byte of its method."""
        if not self._is_muted:
            self.request = Request(self._connection)
            self.is_receiving = True
            self.has_head = False

    def on_url(self, url: bytes) -> None:
        """Append to the target of the request."""
        if self._is_muted:
            return
        self.request.target = target = self.request.target + url
        if len(target) > MAX_TARGET_BYTES:
            raise RejectedError(target_too_long(MAX_TARGET_BYTES))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header field to the request. Trailers are ignored."""
        if not (self.has_head or self._is_muted):
            self.request.add_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the head."""
        if self._is_muted:
            return
        request = self.request
        self.has_head = True
        request.method = self._parser.get_method().decode("ascii")
        request.version = self._parser.get_http_version()
        if self.message_bytes > MAX_HEAD_BYTES:
            raise RejectedError(head_too_large(MAX_HEAD_BYTES))
        if not _REQUEST_LINE.match(self._head):
            raise RejectedError(MALFORMED)
        self._head = b""
        request.check_head(self._max_body_bytes)
        self._length = -1 if "transfer-encoding" in request.headers else request.length
        self.awaits_continue = "expect" in request.headers and request.version == "1.1"

    def on_body(self, data: bytes) -> None:
        """Append to the body of the request."""
        self._body.append(data)
        self._body_bytes += len(data)
        if self._body_bytes > self._max_body_bytes:
            raise RejectedError(body_too_large(self._max_body_bytes))

    def on_message_complete(self) -> None:
        """Pass the request on."""
        request = self.request
        if self.is_ended or ("upgrade" in request.headers and self._skips_body(request)):
            return
        self.is_receiving = self.awaits_continue = False
        self.last_message_bytes, self.message_bytes = self.message_bytes, 0
        if self._body:
            request.body = b"".join(self._body)
            self._body.clear()
            self._body_bytes = 0
        if not self._parser.should_keep_alive() or (
            request.version == "1.0" and request.asks_to_close
        ):
            self.is_ended = True
            request.keeps_alive = False
        self._received(request)

    # Steps

    def _find_end(self, data: bytes, start: int) -> int:
        """Return the offset behind the next empty line, of which a part may have arrived before."""
        if tail := self._tail:
            end = (tail + data[start : start + 3]).find(_END_OF_HEAD)
            if end >= 0:
                self._tail = b""
                return start + end + len(_END_OF_HEAD) - len(tail)
        end = data.find(_END_OF_HEAD, start)
        if end >= 0:
            self._tail = b""
            return end + len(_END_OF_HEAD)
        self._tail = (tail + data[max(start, len(data) - 3) :])[-3:]
        return len(data)

    def _forget_empty_lines(self) -> None:
        """Keep of the line ends before a request only those that are not CRLF, or may become so."""
        rest = self._head.replace(b"\r\n", b"")
        self._head = rest if rest == b"\r" == self._head[-1:] else rest and b"\n"

    def _skips_body(self, request: Request) -> bool:
        """Return whether llhttp skips the body, because it expects that the server upgrades."""
        return self._parser.should_upgrade() and request.has_body

    def _ignore_upgrade(self) -> None:
        """Receive the body of a request that asks for an upgrade (RFC 9110, section 7.8).

        The parser would take the body for the next request. Another one gets a head with the same
        framing instead.
        """
        if not self.is_receiving:
            return  # there is no body
        headers = self.request.headers
        name = "transfer-encoding" if "transfer-encoding" in headers else "content-length"
        connection = "keep-alive" if self._parser.should_keep_alive() else "close"
        self._parser = httptools.HttpRequestParser(self)
        self._is_muted = True
        head = f"POST / HTTP/1.1\r\nConnection: {connection}\r\n{name}: {headers[name]}\r\n\r\n"
        self._parser.feed_data(head.encode("latin-1"))
        self._is_muted = False

    def _check_size(self) -> None:
        """Check the size of a message of which more bytes are to come."""
        limit = MAX_HEAD_BYTES
        if self.is_receiving and self.has_head:
            limit = MAX_CHUNK_OVERHEAD * self._max_body_bytes
        if self.message_bytes > limit and not self.is_ended:
            is_body = limit != MAX_HEAD_BYTES
            raise RejectedError(
                body_too_large(self._max_body_bytes) if is_body else head_too_large(MAX_HEAD_BYTES)
            )

    def _end_with(self, error: RejectedError) -> None:
        """Parse nothing more; raise the error unless it concerns bytes after the last request."""
        if not self.is_ended:
            self.is_ended = True
            self._body.clear()
            raise error


def _explain(error: httptools.HttpParserError, head: bytes) -> RejectedError:
    """Return the rejection of bytes that the parser cannot read.

    :param head: bytes of the head so far.
    """
    if str(error) == "Invalid HTTP version":
        return RejectedError(UNSUPPORTED_VERSION)
    is_method = isinstance(error, httptools.HttpParserInvalidMethodError)
    return RejectedError(UNKNOWN_METHOD if is_method and _METHOD_SO_FAR.match(head) else MALFORMED)
