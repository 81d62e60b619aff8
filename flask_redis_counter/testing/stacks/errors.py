"""Errors of a stack."""

from __future__ import annotations

from .replica import Replica


class StackError(Exception):
    """An operation on a stack failed; the message has the output of the failed command.

    :ivar replicas: the state of the stack at that time, if known.
    """

    def __init__(self, text: str, replicas: tuple[Replica, ...] = ()) -> None:
        super().__init__(text)
        self.replicas = replicas


class StackTimeoutError(StackError, TimeoutError):
    """An operation on a stack did not succeed in time."""
