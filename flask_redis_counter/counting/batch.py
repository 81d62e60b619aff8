"""The hits that one round trip carries, and what becomes of them.

Each batch has its writer's next number, and the script answers a number that it has seen with
the answer that it gave (RIFL: Lee et al., "Implementing Linearizability at Large Scale and Low
Latency", SOSP 2015). So a batch may be sent again until it is answered, and counts once.
"""

from __future__ import annotations

import secrets
from typing import Any

from redis.exceptions import AuthenticationError, NoScriptError

from ..errors import (
    CounterError,
    OutcomeUnknownError,
    StoreError,
    StoreRejectedError,
    StoreUnavailableError,
)
from ..store.backoff import Backoff
from ..store.connections import Command
from ..store.replies import is_transient, translate_script_error
from ..store.scripts import HIT, HIT_ONCE
from ..validation import Durability
from .call import ScriptCall, is_stale, is_taken
from .hit import PendingHit

#: Seconds between attempts: at most 0.01 after the first failure, and at most 0.1.
BACKOFF = Backoff(0.01, 0.1, jitter=1)


class Batch:
    """The hits that one round trip carries, sent again until it is answered or given up."""

    __slots__ = (
        "_answered",
        "_calls",
        "_durability",
        "_error",
        "_failures",
        "_gave_up",
        "_hit_expired",
        "_is_probe",
        "_loading",
        "_maybe_executed",
        "_resending_visitors",
        "_sequence",
        "_sync_timeout_ms",
        "_writer",
        "deadline",
        "hits",
        "is_copied",
    )

    def __init__(
        self,
        hits: list[PendingHit],
        writer: str,
        sequence: int,
        durability: Durability,
        sync_timeout_ms: int,
        is_probe: bool,
    ) -> None:
        self.hits: list[PendingHit] = hits
        #: When the deadline of the one who carries it is over.
        self.deadline: float = hits[-1].deadline
        self._writer = writer
        self._sequence = sequence
        self._durability = durability
        self._sync_timeout_ms = sync_timeout_ms
        # Until it is first sent, hits may still leave it.
        self._calls: list[ScriptCall] | None = None
        self._loading = False
        self._resending_visitors = False
        self._failures = 0
        # Whether it is to find out if an outage is over: at once, and not until the deadline.
        self._is_probe = is_probe
        self._error: StoreError | None = None
        self._gave_up = False
        self._answered = False
        # Whether an attempt may have been executed without our knowing.
        self._maybe_executed = False
        # Whether a hit of a call that was sent has gone, and may wait in a spool with it.
        self._hit_expired = False
        #: Whether another process has the same writer; its combiner is to take another one.
        self.is_copied: bool = False

    @property
    def is_sent(self) -> bool:
        """Whether it may have reached the store."""
        return self._calls is not None

    @property
    def done(self) -> bool:
        """Whether nothing of it is left to be sent."""
        return self._gave_up or self._calls == []

    @property
    def outage(self) -> CounterError | None:
        """The last error, where all attempts were in vain: no store, or one that takes no hits."""
        return self._error if self._failures > 0 and not self._answered else None

    def commands(self) -> list[Command]:
        """Return what to send now; from here on nobody leaves it any more."""
        if self._calls is None:
            self._calls = self._make_calls()
        commands = [call.command() for call in self._calls]
        if self._loading:
            commands = [HIT.load(), HIT_ONCE.load(), *commands]
        if self._durability == "fsync":
            commands.append(("WAITAOF", 1, 0, self._sync_timeout_ms))
        elif self._durability == "replica":
            commands.append(("WAIT", 1, self._sync_timeout_ms))
        return commands

    def apply_replies(self, replies: list[Any]) -> list[ScriptCall]:
        """Take the answers to :meth:`commands`, an error of the store standing in its place.

        Returns the calls whose hits have got their outcome by it.
        """
        synced = self._durability == "memory" or _is_synced(replies.pop())
        loaded, self._loading = self._loading, False
        if loaded:
            del replies[:2]
        open_calls: list[ScriptCall] = []
        resolved: list[ScriptCall] = []
        for call, answer in zip(self._calls or (), replies, strict=True):
            passing = isinstance(answer, StoreRejectedError) and is_transient(answer.__cause__)
            self._answered = self._answered or not passing
            if isinstance(answer, StoreRejectedError):
                open_calls += self._handle_rejection(call, answer, loaded)
            elif not synced:
                self._maybe_executed = True
                self._error = OutcomeUnknownError(
                    f"counted, but within {self._sync_timeout_ms} ms it was not on "
                    + ("the disk" if self._durability == "fsync" else "a replica")
                )
                open_calls.append(call)
            else:
                try:
                    call.resolve(answer)
                    resolved.append(call)
                except OutcomeUnknownError as error:
                    self._maybe_executed = True
                    call.reject(error)
        self._calls = open_calls
        self._failures += 1
        self._gave_up = self._is_probe and self.outage is not None
        return resolved

    def record_failure(self, error: StoreError) -> None:
        """Take note of an attempt that failed as a whole."""
        self._failures += 1
        # What a server said explains more than that no other was found in its place.
        told = isinstance(self._error, StoreRejectedError)
        if not (told and isinstance(error, StoreUnavailableError)):
            self._error = error
        if isinstance(error, OutcomeUnknownError):
            self._maybe_executed = True
        elif isinstance(error, StoreRejectedError) and not is_transient(error.__cause__):
            self._answered = True
            # A new connection introduces itself again: the password may have been another one.
            again = isinstance(error.__cause__, AuthenticationError) and self._failures == 1
            self._gave_up = not again
        else:
            self._gave_up = self._is_probe

    def mark_unknown(self) -> None:
        """Take note that a hit is gone, and was told that an attempt may have been executed."""
        self._maybe_executed = self._hit_expired = True

    def next_delay(self) -> float:
        """Return how many seconds to wait before the next attempt: exponential, full jitter."""
        if self._failures <= 1 and (self._loading or self._resending_visitors or self.is_copied):
            return 0.0
        return BACKOFF.delay(self._failures)

    def expire(self, deadline: float) -> None:
        """Let the hits fail with what is known that have no outcome yet.

        :param deadline: only those whose deadline is over then; all, where there is no use in
            going on.
        """
        if self._calls == []:
            return  # all are settled
        error = self._as_unknown(
            self._error or StoreUnavailableError("there was no time to ask the store")
        )
        if (
            self.is_sent
            and not self.done
            and any(hit.is_pending and hit.deadline > deadline for hit in self.hits)
        ):
            # Others go on with the same call, amounts and all.
            error = OutcomeUnknownError(f"given up, and others go on with it: {error}")
        for hit in self.hits:
            if hit.is_pending and (hit.deadline <= deadline or self.done):
                hit.error = error

    def _make_calls(self) -> list[ScriptCall]:
        calls: dict[str, ScriptCall] = {}
        single: list[ScriptCall] = []
        for hit in self.hits:
            if hit.error is not None:
                continue  # it left
            call = calls.get(hit.key)
            if hit.idempotency_key is not None:
                single.append(
                    ScriptCall.for_hit(hit, self._writer, self._sequence, hit.idempotency_key)
                )
            elif call is None:
                calls[hit.key] = ScriptCall.for_hit(hit, self._writer, self._sequence, None)
            elif not call.can_add(hit):
                single.append(self._separate_call(hit))
            else:
                call.add(hit)
        return [*calls.values(), *single]

    def _separate_call(self, hit: PendingHit) -> ScriptCall:
        # A number stands for one call of a counter; a token of its own tells this one apart.
        return ScriptCall.for_hit(hit, self._writer, self._sequence, secrets.token_hex(8))

    def _handle_rejection(
        self, call: ScriptCall, error: StoreRejectedError, loaded: bool
    ) -> list[ScriptCall]:
        """Return the calls that are to be sent in place of one that the store refused."""
        if isinstance(error.__cause__, NoScriptError):
            self._loading = True
            self._error = (
                StoreRejectedError("the store does not take the script that counts")
                if loaded
                else StoreUnavailableError("there was no time to load the script that counts")
            )
            return [call]
        if str(error.__cause__).startswith("FORGOTTEN"):
            self._resending_visitors = True
            self._error = StoreUnavailableError("there was no time to tell the store of visitors")
            call.resend_visitors()
            return [call]
        if is_transient(error.__cause__):
            self._error = error
            return [call]
        if is_taken(error) or is_stale(error):
            self.is_copied = True
            if not (self._hit_expired if is_taken(error) else self._maybe_executed):
                # No attempt of ours has counted, and none will: the store keeps the numbers.
                return [call.for_writer(secrets.token_hex(8))]
        if len(call.hits) > 1 and "would overflow" in str(error):
            return [self._separate_call(hit) for hit in call.hits]  # as many as there is room for
        outcome = translate_script_error(error, call.key)
        if isinstance(outcome, OutcomeUnknownError):
            self._maybe_executed = True
            self._error = outcome
            return [call]
        call.reject(self._as_unknown(outcome))
        return []

    def _as_unknown(self, error: CounterError) -> CounterError:
        """Return the error, or unknown where an earlier attempt may have been executed."""
        if not self._maybe_executed or isinstance(error, OutcomeUnknownError):
            return error
        unknown = OutcomeUnknownError(f"an earlier attempt was not answered; then: {error}")
        unknown.__cause__ = error
        return unknown


def _is_synced(answer: Any) -> bool:
    if isinstance(answer, list):  # WAITAOF: on how many disks here, and on how many replicas'
        answer = answer[0]
    return isinstance(answer, int) and answer >= 1
