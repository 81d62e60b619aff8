"""Reasons to reject a request before it reaches the application."""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple


class Rejection(NamedTuple):
    """Reason why a connection rejects a request.

    :ivar status: status of the response.
    :ivar detail: cause, for a person.
    """

    status: HTTPStatus
    detail: str


class RejectedError(Exception):
    """Raised where the bytes of a request are found to be unacceptable.

    :ivar rejection: the reason.
    """

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.detail)
        self.rejection: Rejection = rejection


MALFORMED = Rejection(HTTPStatus.BAD_REQUEST, "The request is malformed: send HTTP/1.1.")

INCOMPLETE = Rejection(
    HTTPStatus.BAD_REQUEST, "The request is incomplete: send the whole request again."
)

NO_SINGLE_HOST = Rejection(HTTPStatus.BAD_REQUEST, "Send one Host header.")

MALFORMED_TARGET = Rejection(
    HTTPStatus.BAD_REQUEST,
    "The request target is malformed: send a path that starts with a slash.",
)

AMBIGUOUS_LENGTH = Rejection(
    HTTPStatus.BAD_REQUEST, "Send Transfer-Encoding with HTTP/1.1 and without Content-Length."
)

TIMEOUT = Rejection(
    HTTPStatus.REQUEST_TIMEOUT, "The request did not arrive in time: send it again."
)

BAD_EXPECTATION = Rejection(
    HTTPStatus.EXPECTATION_FAILED, "The only supported expectation is 100-continue."
)

UNKNOWN_METHOD = Rejection(HTTPStatus.NOT_IMPLEMENTED, "The request's method is unknown.")

NO_PROXY = Rejection(HTTPStatus.NOT_IMPLEMENTED, "CONNECT is for proxies: send a method of HTTP.")

UNKNOWN_CODING = Rejection(
    HTTPStatus.NOT_IMPLEMENTED, "The only supported Transfer-Encoding is chunked."
)

TOO_MANY_CONNECTIONS = Rejection(
    HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections; try again later."
)

UNSUPPORTED_VERSION = Rejection(
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "Send the request with HTTP/1.1."
)


def target_too_long(max_bytes: int) -> Rejection:
    """Return the rejection of a target with more than the maximum number of bytes."""
    detail = f"The URL is longer than {max_bytes} bytes: shorten it."
    return Rejection(HTTPStatus.REQUEST_URI_TOO_LONG, detail)


def head_too_large(max_bytes: int) -> Rejection:
    """Return the rejection of a head with more than the maximum number of bytes."""
    detail = f"The head is larger than {max_bytes} bytes: send fewer or shorter headers."
    return Rejection(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)


def too_many_fields(maximum: int) -> Rejection:
    """Return the rejection of a request with more than the maximum number of header fields."""
    detail = f"The request has more than {maximum} header fields: send fewer."
    return Rejection(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)


def body_too_large(max_bytes: int) -> Rejection:
    """Return the rejection of a body with more than the maximum number of bytes."""
    detail = f"The body is larger than {max_bytes} bytes: send less."
    return Rejection(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
