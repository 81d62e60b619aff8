"""Batch of hits: sent in one round trip, and sent again until the store replies.

Each batch has the next sequence number of its writer. If the script has seen the number before, it
returns its first reply to it (RIFL: Lee et al., "Implementing Linearizability at Large Scale and
Low Latency", SOSP 2015). So a batch that is sent several times counts once.
"""

from __future__ import annotations

import secrets
from typing import Any

from redis.exceptions import AskError, AuthenticationError, NoScriptError

from ..errors import (
    CounterError,
    OutcomeUnknownError,
    StoreError,
    StoreRejectedError,
    StoreUnavailableError,
)
from ..store.backoff import Backoff
from ..store.confirmation import Confirmation
from ..store.connections import Command
from ..store.replies import is_redirection, is_transient, translate_script_error
from ..store.scripts import HIT, HIT_ONCE
from .call import ScriptCall, is_behind, is_stale, is_taken, make_sender
from .hit import PendingHit
from .journal import Entry, Journal

#: Delay between attempts, in seconds: up to 0.01 after the first failure, doubled up to 0.1.
BACKOFF = Backoff(0.01, 0.1, jitter=1)

#: Attempts that follow each other without a delay, on a cluster: to list a counter, to create it
#: there, and after redirections.
MAX_STEPS = 8


class Batch:
    """Hits that are sent in one round trip, until the store replies or the batch is given up."""

    __slots__ = (
        "_answered",
        "_behind",
        "_calls",
        "_confirmation",
        "_error",
        "_failures",
        "_gave_up",
        "_has_next_step",
        "_history",
        "_is_listed",
        "_is_probe",
        "_journal",
        "_loading",
        "_maybe_executed",
        "_resending_visitors",
        "_resent",
        "_sequence",
        "_writer",
        "deadline",
        "has_expired_hit",
        "hits",
        "is_copied",
    )

    def __init__(
        self,
        hits: list[PendingHit],
        writer: str,
        sequence: int,
        confirmation: Confirmation,
        is_probe: bool,
        journal: Journal | None = None,
        is_listed: bool = True,
    ) -> None:
        self.hits: list[PendingHit] = hits
        #: Deadline of the leader: the hit whose caller sends the batch.
        self.deadline: float = hits[-1].deadline
        self._writer = writer
        self._sequence = sequence
        self._confirmation = confirmation
        self._journal = journal
        self._history = ""
        # Counters on which the store lacks earlier calls of the writer, by their keys, with the
        # history of the server that said so, and the entries
        # that were sent again before the calls of this batch.
        self._behind: dict[str, str] = {}
        self._resent: list[Entry] = []
        # None until the batch is first sent; hits that expire before are left out.
        self._calls: list[ScriptCall] | None = None
        self._loading = False
        self._resending_visitors = False
        # Whether counters are created without being listed before, and whether the next attempt
        # follows at once because the last one was the first of several steps.
        self._is_listed = is_listed
        self._has_next_step = False
        self._failures = 0
        # Whether the batch tests if an outage is over: it gives up at the first failure.
        self._is_probe = is_probe
        self._error: StoreError | None = None
        self._gave_up = False
        self._answered = False
        # Whether the store may have executed an attempt whose reply was lost.
        self._maybe_executed = False
        #: Whether a hit expired after its call was sent: the spool may hold that call.
        self.has_expired_hit: bool = False
        #: Whether another process uses the same writer; the batcher then takes a new one.
        self.is_copied: bool = False

    @property
    def is_sent(self) -> bool:
        """Whether the batch may have reached the store."""
        return self._calls is not None

    @property
    def done(self) -> bool:
        """Whether nothing is left to send."""
        return self._gave_up or self._calls == []

    @property
    def outage(self) -> CounterError | None:
        """The last error if all attempts failed: no store, or a store that accepts no hits."""
        return self._error if self._failures > 0 and not self._answered else None

    @property
    def near(self) -> str:
        """A key of the server that gets the next attempt. It redirects the calls of others."""
        call = self._next_call()
        return self.hits[0].key if call is None else call.route

    def commands(self, history: str = "") -> list[Command]:
        """Return the commands of the next attempt. The first call fixes the hits of the batch.

        :param history: history of the server that they will be sent to; ``""``: unknown.
        """
        self._history = history
        if self._calls is None:
            self._calls = self._make_calls()
        self._resent = self._find_missing(history) if self._behind else []
        commands = [entry.call.command() for entry in self._resent]
        commands += [call.command() for call in self._calls]
        if self._loading:
            commands = [HIT.load(), HIT_ONCE.load(), *commands]
        return commands + self._confirmation.commands

    def apply_replies(self, replies: list[Any]) -> list[ScriptCall]:
        """Resolve hits from the replies to :meth:`commands`, which may be errors.

        Returns the calls whose hits now have an outcome.
        """
        missing = ""
        if waits := len(self._confirmation.commands):
            missing = self._confirmation.find_missing(replies[-waits:])
            del replies[-waits:]
        loaded, self._loading = self._loading, False
        if loaded:
            del replies[:2]
        if self._resent and self._journal is not None:
            count = len(self._resent)
            self._journal.apply_replies(self._resent, replies[:count], self._history)
            del replies[:count]
        self._has_next_step = False
        open_calls: list[ScriptCall] = []
        resolved: list[ScriptCall] = []
        for call, reply in zip(self._calls or (), replies, strict=True):
            transient = (
                isinstance(reply, StoreRejectedError)
                and is_transient(reply.__cause__)
                and not is_behind(reply)
            )
            # A node that redirects a call, or waits for its keys, is not down.
            is_up = not transient or is_redirection(reply)
            self._answered = self._answered or is_up
            if isinstance(reply, StoreRejectedError):
                open_calls += self._handle_rejection(call, reply, loaded)
            elif call.is_listing:  # also if a replica lacks the name: it is listed again later
                call.note_listed()
                self._has_next_step = True
                open_calls.append(call)
            elif missing:
                self._maybe_executed = True
                self._error = OutcomeUnknownError(f"counted, but not on {missing}")
                open_calls.append(call)
            else:
                try:
                    call.resolve(reply)
                    resolved.append(call)
                except OutcomeUnknownError as error:
                    self._maybe_executed = True
                    call.reject(error)
        self._calls = open_calls
        self._failures += 1
        self._gave_up = self._is_probe and self.outage is not None
        if self._journal is not None:
            # Before the callers are told.
            self._journal.add(resolved, self._history)
        return resolved

    def record_failure(self, error: StoreError) -> None:
        """Record the error of an attempt that failed as a whole."""
        if self._is_listing():
            self._reject_listing(error)
        self._failures += 1
        # The reply of a server explains more than a later failure to connect.
        has_reply = isinstance(self._error, StoreRejectedError)
        if not (has_reply and isinstance(error, StoreUnavailableError)):
            self._error = error
        if isinstance(error, OutcomeUnknownError):
            self._maybe_executed = True
        elif isinstance(error, StoreRejectedError) and not is_transient(error.__cause__):
            self._answered = True
            # A new connection authenticates again: the password may have been changed.
            retry = isinstance(error.__cause__, AuthenticationError) and self._failures == 1
            self._gave_up = not retry
        else:
            self._gave_up = self._is_probe

    def _next_call(self) -> ScriptCall | None:
        """Return the call whose server gets the next attempt."""
        calls = self._calls
        return calls[self._failures % len(calls)] if calls else None

    def _is_listing(self) -> bool:
        call = self._next_call()
        return call is not None and call.is_listing

    def _reject_listing(self, error: StoreError) -> None:
        """Give up calls that were to be listed: the other hits do not wait for that server."""
        for call in self._calls or ():
            if call.is_listing:
                problem = f"the counter was not created, because its name was not listed: {error}"
                call.reject(self._as_unknown(StoreUnavailableError(problem)))
        if self._calls is not None:
            self._calls = [call for call in self._calls if not call.is_listing]

    def mark_unknown(self) -> None:
        """Record that a hit ended with the outcome "unknown" while the batch goes on."""
        self._maybe_executed = self.has_expired_hit = True

    def next_delay(self) -> float:
        """Return the seconds to wait before the next attempt: exponential, full jitter."""
        if self._has_next_step and self._failures < MAX_STEPS:
            return 0.0
        if self._failures <= 1 and (
            self._loading or self._resending_visitors or self.is_copied or self._behind
        ):
            return 0.0
        return BACKOFF.delay(self._failures)

    def expire(self, deadline: float) -> None:
        """Set the error of pending hits whose deadline is over; of all if the batch is done.

        :param deadline: hits with this deadline or an earlier one expire.
        """
        if self._calls == []:
            return  # all hits have an outcome
        error = self._as_unknown(
            self._error or StoreUnavailableError("the store was not reached in time")
        )
        if (
            self.is_sent
            and not self.done
            and any(hit.is_pending and hit.deadline > deadline for hit in self.hits)
        ):
            # The other hits continue with the same call, which includes this hit's amount.
            error = OutcomeUnknownError(f"the deadline is over, but the batch continues: {error}")
        for hit in self.hits:
            if hit.is_pending and (hit.deadline <= deadline or self.done):
                hit.error = error

    def _make_calls(self) -> list[ScriptCall]:
        calls: dict[str, ScriptCall] = {}
        single: list[ScriptCall] = []
        sender = make_sender()
        for hit in self.hits:
            if hit.error is not None:
                continue  # expired
            call = calls.get(hit.key)
            if hit.idempotency_key is not None:
                single.append(self._make_call(hit, hit.idempotency_key))
            elif call is None:
                call = calls[hit.key] = self._make_call(hit, None, sender)
                if self._journal is not None:
                    call.earlier = self._journal.last_sequence(hit.key, self._writer)
            elif not call.can_add(hit):
                single.append(self._separate_call(hit))
            else:
                call.add(hit)
        return [*calls.values(), *single]

    def _make_call(
        self, hit: PendingHit, idempotency_key: str | None, sender: str = ""
    ) -> ScriptCall:
        return ScriptCall.for_hit(
            hit, self._writer, self._sequence, idempotency_key, self._is_listed, sender
        )

    def _separate_call(self, hit: PendingHit) -> ScriptCall:
        # A sequence number identifies one call per counter; this one has its own idempotency key.
        return self._make_call(hit, secrets.token_hex(8))

    def _find_missing(self, history: str) -> list[Entry]:
        """Return the entries of the journal that the store lacks, in their order."""
        missing: list[Entry] = []
        for call in self._calls or ():
            if call.key in self._behind and call.earlier and self._journal is not None:
                found = self._journal.missing(call.key, call.writer, history)
                missing += found
                if not found and history == self._behind[call.key]:
                    # Nothing was lost since those calls: the counter's records were deleted.
                    call.earlier = 0
        return missing

    def _handle_rejection(
        self, call: ScriptCall, error: StoreRejectedError, loaded: bool
    ) -> list[ScriptCall]:
        """Return the calls to send instead of one that the store rejected."""
        if isinstance(error.__cause__, NoScriptError):
            self._loading = True
            self._error = (
                StoreRejectedError("the store does not accept the counting script")
                if loaded
                else StoreUnavailableError("not enough time to load the counting script")
            )
            return [call]
        if is_behind(error):
            self._behind[call.key] = self._history
            self._error = StoreUnavailableError(
                "the store has lost acknowledged hits, and does not accept them again in time"
            )
            return [call]
        if str(error.__cause__).startswith("FORGOTTEN"):
            self._resending_visitors = True
            self._error = StoreUnavailableError("not enough time to send the visitors again")
            call.resend_visitors()
            return [call]
        if isinstance(error.__cause__, AskError):  # also MovedError
            self._has_next_step = True
        if is_transient(error.__cause__):
            self._error = error
            return [call]
        if call.list_first(error):
            self._has_next_step = True
            return [call]
        if is_taken(error) or is_stale(error):
            self.is_copied = True
            if not (self.has_expired_hit if is_taken(error) else self._maybe_executed):
                # No attempt of this process counted, and none will: the store rejects the number.
                return [call.for_writer(secrets.token_hex(8))]
        if len(call.hits) > 1 and "would overflow" in str(error):
            # One call for each hit: those that fit into the value count.
            return [self._separate_call(hit) for hit in call.hits]
        outcome = translate_script_error(error, call.key)
        if isinstance(outcome, OutcomeUnknownError):
            self._maybe_executed = True
            self._error = outcome
            return [call]
        call.reject(self._as_unknown(outcome))
        return []

    def _as_unknown(self, error: CounterError) -> CounterError:
        """Return the error, or "unknown" if an earlier attempt may have been executed."""
        if not self._maybe_executed or isinstance(error, OutcomeUnknownError):
            return error
        unknown = OutcomeUnknownError(f"an earlier attempt was not answered; then: {error}")
        unknown.__cause__ = error
        return unknown
