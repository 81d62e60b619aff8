"""Responses as bytes (RFC 9112)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus

from .request import Request

#: Responses with these statuses have no body, and no Content-Length.
_BODILESS = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class DateHeader:
    """The header ``Date``, formatted once per second.

    :ivar line: the header's line, with its line break.
    """

    def __init__(self) -> None:
        self.line: str = ""
        self.update()

    def update(self) -> None:
        """Take the current time."""
        self.line = f"Date: {formatdate(time.time(), usegmt=True)}\r\n"


#: The date of responses. The worker's timer updates it.
DATE = DateHeader()


def status_line(status: int) -> str:
    """Return the first line of a response."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n"


def render_head(status: int, headers: Iterable[tuple[str, str]], request: Request) -> bytes:
    """Return the head of a response with the given headers, Date and Connection."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    head = f"{status_line(status)}{DATE.line}{lines}{connection_header(request)}\r\n"
    return head.encode("latin-1")


def render_response(
    status: int, headers: Iterable[tuple[str, str]], body: bytes, request: Request
) -> bytes:
    """Return a response.

    :param headers: without ``Date``; a missing ``Content-Length`` is added.
    :param body: empty for HEAD.
    """
    headers = list(headers)
    if (
        status not in _BODILESS
        and request.method != "HEAD"
        and not any(name.lower() == "content-length" for name, _ in headers)
    ):
        headers.append(("Content-Length", str(len(body))))
    return render_head(status, headers, request) + body


def connection_header(request: Request) -> str:
    """Return the line of ``Connection``; empty if the protocol's default applies."""
    if not request.keeps_alive:
        return "Connection: close\r\n"
    return "Connection: keep-alive\r\n" if request.version == "1.0" else ""
