"""Confirmation of writes: by the server's disk and by its replicas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from redis.exceptions import NoPermissionError

from ..errors import OutcomeUnknownError, StoreError, StoreRejectedError, StoreUnavailableError
from ..log_throttle import warn_once
from ..validation import Durability, required_replicas
from .connections import Command
from .operation import Operation
from .replies import raise_for_error
from .server_state import parse_sections, replica_offsets

_T = TypeVar("_T")

_UNCONFIRMED = "changes by set, delete and import do not wait for replicas"

#: Largest and smallest share of a round trip's time that the server may wait.
MAX_SHARE, MIN_SHARE = 0.8, 0.4

#: Seconds that are left for the reply, within those shares. By default a server checks only ten
#: times a second whether a wait has timed out.
REPLY_TIME = 0.12


class Confirmation:
    """Commands that follow writes on their connection, and wait until the writes are confirmed.

    :param durability: where the writes must be stored.
    :param attempt_timeout: seconds that a round trip may take.
    :param replicas: number of replicas to wait for, if the durability does not need more.
    :ivar commands: the commands, none for ``memory``.
    """

    __slots__ = ("_is_required", "_replicas", "_timeout_ms", "commands")

    def __init__(self, durability: Durability, attempt_timeout: float, replicas: int = 0) -> None:
        longest = min(attempt_timeout * MAX_SHARE, attempt_timeout - REPLY_TIME)
        # Zero would mean for ever.
        self._timeout_ms = max(1, round(max(attempt_timeout * MIN_SHARE, longest) * 1000))
        self._is_required = required_replicas(durability) > 0
        self._replicas = max(replicas, required_replicas(durability))
        self.commands: list[Command] = []
        if durability == "fsync":
            self.commands.append(("WAITAOF", 1, 0, self._timeout_ms))
        if self._replicas:
            self.commands.append(("WAIT", self._replicas, self._timeout_ms))

    def find_missing(self, replies: Sequence[Any]) -> str:
        """Return where the writes are not confirmed to be stored; ``""`` if they are safe.

        :param replies: the replies to the commands, which may be errors.
        """
        for command, reply in zip(self.commands, replies, strict=True):
            if command[0] == "WAIT" and not self._is_required and _is_forbidden(reply):
                warn_once(f"{_UNCONFIRMED}: {reply}")
            elif command[0] == "WAITAOF":
                # The number of local disks, and of replicas' disks.
                if not (isinstance(reply, list) and reply[0] >= 1):
                    return f"the disk within {self._timeout_ms} ms"
            elif not isinstance(reply, int) or reply < self._replicas:
                found = reply if isinstance(reply, int) else 0
                return f"{_describe(found, self._replicas)} within {self._timeout_ms} ms"
        return ""


#: Of writes that are acknowledged once they are in the server's memory.
MEMORY = Confirmation("memory", 0)


def _describe(found: int, needed: int) -> str:
    return "a replica" if needed == 1 else f"{needed} replicas, only on {found},"


def confirm(
    operation: Operation[_T],
    durability: Durability,
    attempt_timeout: float,
    key: str | None = None,
) -> Operation[_T]:
    """Run an operation that writes, and wait until all connected replicas have its writes.

    If the user may not run ``INFO`` or ``WAIT``, it waits only for what the durability requires,
    and a warning is logged once.

    :param attempt_timeout: seconds that a round trip may take.
    :param key: on a cluster, a key of the server that is written to, so that the question for its
        replicas is redirected as the writes are; None: one that is asked without a key.
    :raises StoreError: the replicas are not known; nothing was executed.
    :raises OutcomeUnknownError: the operation was executed, and not confirmed in time.
    """
    try:
        probe: list[Command] = [("EXISTS", key)] if key is not None else []
        *_, reply = yield [*probe, ("INFO", "replication")]
    except OutcomeUnknownError as error:  # nothing was executed yet
        raise StoreUnavailableError(str(error)) from error
    if _is_forbidden(reply):
        warn_once(f"{_UNCONFIRMED}: {reply}")
    else:
        raise_for_error(reply)
    replicas = len(replica_offsets(parse_sections([reply])))
    confirmation = Confirmation(durability, attempt_timeout, replicas)
    missing = ""
    commands = next(operation)
    while True:
        try:
            try:
                replies = yield [*commands, *confirmation.commands]
            except StoreError as error:
                commands = operation.throw(error)
                continue
            count = len(commands)
            missing = missing or confirmation.find_missing(replies[count:])
            commands = operation.send(replies[:count])
        except StopIteration as end:
            if missing:
                message = f"done, but not on {missing}: a failover may undo it"
                raise OutcomeUnknownError(message) from None
            return end.value  # type: ignore[no-any-return]


def _is_forbidden(reply: object) -> bool:
    """Return whether the user may not run the command, or the server does not have it."""
    return isinstance(reply, StoreRejectedError) and (
        isinstance(reply.__cause__, NoPermissionError) or "unknown command" in str(reply).lower()
    )
