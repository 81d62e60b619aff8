"""The interface of the application behind the connections."""

from __future__ import annotations

from typing import Protocol

from .rejection import Rejection
from .request import Request


class Application(Protocol):
    """The application behind the connections of a worker."""

    #: Maximum bytes of a request's body.
    max_body_bytes: int

    def start(self, request: Request, is_first: bool) -> bool:
        """Start a request; call :meth:`.HTTPConnection.respond` at once or later.

        Later requests of the connection start before the response, unless the application sets
        :attr:`.Request.is_exclusive`.

        :param is_first: whether all earlier requests of the connection are answered.
        :returns: False if the request must be the first one; it is then passed again.
        """
        ...

    def render_rejection(self, rejection: Rejection, request: Request) -> bytes:
        """Return the response to a request that the connection rejects."""
        ...
