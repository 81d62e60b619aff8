"""Checks of a request before its view runs, and the reading of its body."""

from __future__ import annotations

from flask import current_app, request
from werkzeug.exceptions import (
    BadRequest,
    ClientDisconnected,
    LengthRequired,
    RequestEntityTooLarge,
)

from .. import hosts
from ..extension.state import current_state


def reject_invalid_request() -> None:
    """Reject a malformed or too large request with 4xx, before anything counts."""
    if not hosts.is_allowed_host(request.headers.get("Host"), current_state().config.trusted_hosts):
        raise BadRequest(
            "The Host header is malformed, or names a host that is not allowed "
            "(COUNTER_TRUSTED_HOSTS). Send ASCII (xn--… for an international name) and a port from "
            "1 to 65535."
        )
    if "Transfer-Encoding" in request.headers and request.headers.get("Content-Length"):
        raise BadRequest("Send Transfer-Encoding or Content-Length, not both.")
    # Only the announced length is checked: waiting for a slow body would block a thread.
    if (request.content_length or 0) > current_app.config["MAX_CONTENT_LENGTH"]:
        raise RequestEntityTooLarge


def read_body() -> bytes:
    """Return the request's body, with a length or in chunks. Most views ignore it unread.

    :raises LengthRequired: the body is chunked, and the WSGI server does not mark its end.
    :raises RequestEntityTooLarge: the body is too large.
    :raises BadRequest: the body is incomplete.
    """
    if "Transfer-Encoding" in request.headers and not request.environ.get("wsgi.input_terminated"):
        raise LengthRequired("This server cannot read a chunked body: send a Content-Length.")
    try:
        data = request.get_data()
    except ClientDisconnected as error:
        raise BadRequest("The body is incomplete: send the whole request again.") from error
    # Werkzeug truncates a body of unknown length at the limit.
    if request.content_length is None and len(data) >= current_app.config["MAX_CONTENT_LENGTH"]:
        raise RequestEntityTooLarge
    return data
