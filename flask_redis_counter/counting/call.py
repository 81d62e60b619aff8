"""One call of a counting script, for one hit or for several hits of a counter."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator
from itertools import compress
from typing import Any, Self

from ..errors import (
    CounterError,
    OutcomeUnknownError,
    RateLimitExceededError,
    StoreRejectedError,
)
from ..limits import UNLIMITED, RateLimit
from ..log_throttle import warn_skipped
from ..outcome import REPLY_DIGITS
from ..series import current_hour
from ..store.connections import Command
from ..store.keys import get_keys, hit_keys, idempotency_record, shared_names_key, writer_record
from ..store.listing import list_name
from ..store.scripts import HIT, HIT_ONCE
from ..validation import MAX_VALUE
from .counted_call import CountedFields, call_identity, salt_seed
from .hit import PendingHit
from .visitors import ReportedVisitors

#: Largest integer that Lua represents exactly.
MAX_LUA_INTEGER = 2**53 - 1

#: The outcome of a screened hit, as a digit in the reply of a script.
COUNTED, REPLAYED, DUPLICATE, RATE_LIMITED = REPLY_DIGITS


# Visitors that the store knows if it does not have the mark: none.
_NOT_MARKED: Container[str | None] = ()


class ScriptCall:
    """One call of a script: several hits of a counter, or one hit with an idempotency key."""

    __slots__ = (
        "_is_listed",
        "_known",
        "_limit",
        "_mark",
        "_memory_share",
        "_rate",
        "_reported",
        "_screened",
        "_stored_hits",
        "_visitors",
        "amount",
        "earlier",
        "hits",
        "hour",
        "idempotency_key",
        "is_listing",
        "key",
        "sender",
        "sequence",
        "writer",
    )

    def __init__(
        self,
        key: str,
        amount: int,
        writer: str,
        sequence: int,
        idempotency_key: str | None,
        hour: str,
        sender: str = "",
    ) -> None:
        self.key: str = key
        self.amount: int = amount
        self.writer: str = writer
        self.sequence: int = sequence
        self.idempotency_key: str | None = idempotency_key
        self.hour: str = hour
        # Distinguishes a repeat of this call from another hit with the same idempotency key, and
        # from the call of a copied process with the same writer and sequence number.
        self.sender: str = sender or make_sender()
        self.hits: list[PendingHit] = []
        #: Number of the writer's call on this counter that has to be stored before; 0: none.
        self.earlier: int = 0
        self._stored_hits: list[PendingHit] = []
        self._limit = UNLIMITED
        # On a cluster, the names of all counters are on another server: a counter is listed there
        # before it is created.
        self._is_listed = True
        #: Whether the next attempt lists the name instead of counting.
        self.is_listing: bool = False
        # Visitors to send. The store knows the others if it still has the mark.
        self._visitors: dict[str, None] = {}
        self._reported: ReportedVisitors | None = None
        self._mark = ""
        self._known: Container[str | None] = _NOT_MARKED
        self._screened = False
        self._rate: RateLimit | None = None
        # Percentage of the store's memory limit from which new idempotency keys are rejected.
        self._memory_share: int | None = None

    @classmethod
    def for_hit(
        cls,
        hit: PendingHit,
        writer: str,
        sequence: int,
        idempotency_key: str | None,
        is_listed: bool = True,
        sender: str = "",
    ) -> Self:
        """Return a call for one hit; :meth:`add` adds others.

        :param is_listed: False if the counter's name must be listed before it is created.
        :param sender: random word that calls on different counters may share; ``""``: a new one.
        """
        call = cls(hit.key, 0, writer, sequence, idempotency_key, current_hour(), sender)
        call._is_listed = is_listed
        call._limit = hit.limits.counter_limit
        if hit.idempotency_key is not None:
            call._memory_share = hit.limits.idempotency_memory
        call.add(hit)
        return call

    def for_writer(self, writer: str) -> Self:
        """Return a call for the same hits from another writer."""
        call = type(self).for_hit(self.hits[0], writer, 1, None, self._is_listed)
        for hit in self.hits[1:]:
            call.add(hit)
        return call

    def can_add(self, hit: PendingHit) -> bool:
        """Return whether a hit can be counted by this call."""
        if not (self._screened or hit.rate or hit.visitor_window):
            return self.amount + hit.amount <= MAX_VALUE
        if self._rate is not None and hit.rate not in (None, self._rate):
            return False
        return self.amount + hit.amount <= MAX_LUA_INTEGER

    def add(self, hit: PendingHit) -> None:
        """Add a hit to this call."""
        self.amount += hit.amount
        self.hits.append(hit)
        hit.call = self
        # Hot path: most visitors are known.
        if (visitor := hit.visitor) is not None and (
            hit.reported is not self._reported or visitor not in self._known
        ):
            self._add_visitor(visitor, hit.reported)
        if hit.limits.counter_limit > self._limit:
            self._limit = hit.limits.counter_limit
        if hit.rate is not None or hit.visitor_window:
            self._screened = True
            self._rate = self._rate or hit.rate

    def resend_visitors(self) -> None:
        """Send all visitors with the next attempt, because the store does not have the mark."""
        if self._reported is not None:
            self._reported.clear(self._mark)
            self._mark = self._reported.mark
            self._known = _NOT_MARKED
        self._visitors = dict.fromkeys(hit.visitor for hit in self.hits if hit.visitor is not None)

    def command(self) -> Command:
        """Return the command. It changes only after :meth:`resend_visitors` and while listing."""
        if self.is_listing:
            return list_name(self.key, self._limit)
        day = self.hour[:10]
        keys: tuple[str, ...] = hit_keys(self.key, day)
        more: Iterable[str | int] = ()
        if self._screened or self._visitors:
            known = get_keys(self.key)
            keys += (known.marks, known.visitors, known.salt)
            process = "" if self._reported is None else self._reported.cache_id
            visitors = self._screening_arguments() if self._screened else self._visitors
            more = (
                process,
                self._mark,
                int(self._known is not _NOT_MARKED),
                salt_seed(day),
                *visitors,
            )
        elif self._reported is not None:  # the store knows all visitors if it has the mark
            keys += (get_keys(self.key).marks,)
            more = (self._reported.cache_id, self._mark)
        if self._screened:
            known = get_keys(self.key)
            keys += (known.seen, known.rates)
        limit = self._limit if self._is_listed else 0
        counted = (self.amount, self.hour, limit, *more)
        if self.idempotency_key is not None:
            sender = (
                self.sender if self._memory_share is None else f"{self.sender}:{self._memory_share}"
            )
            record = idempotency_record(self.key, self.idempotency_key)
            return HIT_ONCE.evalsha((self.key, record, *keys), sender, *counted)
        record = writer_record(self.key, self.writer)
        identity = call_identity(self.sequence, self.sender, self.earlier)
        return HIT.evalsha((self.key, record, *keys), identity, *counted)

    @property
    def route(self) -> str:
        """The key that decides which server of a cluster gets the command."""
        return shared_names_key(self.key) if self.is_listing else self.key

    def list_first(self, error: StoreRejectedError) -> bool:
        """Return whether the counter has to be listed before it is created, and do so next.

        :param error: the reply to the command.
        """
        is_unknown = str(error.__cause__).startswith("UNKNOWN there")
        self.is_listing = is_unknown and not self._is_listed and self._limit > 0
        return self.is_listing

    def note_listed(self) -> None:
        """Create the counter with the next attempt: its name is listed."""
        self.is_listing, self._is_listed = False, True

    def counted(self) -> CountedFields | None:
        """Return what the store has counted for the call, once it is resolved; None if nothing."""
        hits = self._stored_hits
        if not hits:
            return None
        visitors: tuple[str, ...] = ()
        if len(hits) > 1 or hits[0].visitor is not None:
            visitors = tuple({hit.visitor for hit in hits if hit.visitor is not None})
        return (
            self.key,
            self.amount if hits is self.hits else sum(hit.amount for hit in hits),
            self.writer,
            self.sequence,
            self.sender,
            self.earlier,
            self.idempotency_key,
            self.hour,
            visitors,
            len(hits),
        )

    def _screening_arguments(self) -> Iterator[str | int]:
        """Yield the arguments by which the script decides for each hit whether it counts."""
        yield max(hit.visitor_window for hit in self.hits)
        rate = self._rate or RateLimit(1, 1)
        yield f"{rate.seconds / rate.hits:.6f}"
        yield rate.seconds
        for hit in self.hits:
            client = hit.client if hit.rate is not None else None
            visitor = hit.visitor if hit.visitor in self._visitors else None
            yield from (visitor or "", hit.amount, hit.visitor_window, client or "")

    def _add_visitor(self, visitor: str, reported: ReportedVisitors | None) -> None:
        """Add a visitor, unless it was already reported together with the mark."""
        if reported is not None and self._reported is None:
            reported.renew(self.hour)
            self._reported, self._mark = reported, reported.mark
            self._known = reported.hashes if reported.is_marked else _NOT_MARKED
        if reported is not self._reported or visitor not in self._known:
            self._visitors[visitor] = None

    def resolve(self, reply: Any) -> None:
        """Set the value or the error of each hit from the reply of the script.

        :raises OutcomeUnknownError: the reply is malformed.
        """
        try:
            value, digits = self._parse_reply(reply)
        except (TypeError, ValueError) as error:
            raise OutcomeUnknownError(f"malformed reply: {reply!r:.100}") from error
        if digits:
            self._resolve_each(value, digits)
            return
        self._stored_hits = self.hits
        value -= self.amount
        for hit in self.hits:
            value += hit.amount
            if hit.error is None:
                hit.value = value
        if self._visitors and self._reported is not None:
            self._reported.add(self._visitors, self._mark)

    def _resolve_each(self, value: int, digits: str) -> None:
        counted = [digit in (COUNTED, REPLAYED) for digit in digits]
        value -= sum(compress((hit.amount for hit in self.hits), counted))
        for hit, digit in zip(self.hits, digits, strict=True):
            if digit in (COUNTED, REPLAYED):
                value += hit.amount
            if hit.error is not None:
                continue
            if digit == RATE_LIMITED and self._rate is not None:
                hit.error = RateLimitExceededError(self._rate.seconds / self._rate.hits)
            else:
                hit.value = value
                hit.counted = digit != DUPLICATE
                hit.replayed = digit == REPLAYED
        # Replayed hits, too: the reply to the first sender may have been lost.
        self._stored_hits = list(compress(self.hits, counted))
        visitors = {
            hit.visitor for hit, digit in zip(self.hits, digits, strict=True) if digit == COUNTED
        }
        if self._reported is not None and (accepted := visitors & self._visitors.keys()):
            self._reported.add(accepted, self._mark)

    def _parse_reply(self, reply: Any) -> tuple[int, str]:
        """Return the value, and one outcome digit for each hit; no digits if all counted."""
        if self.idempotency_key is not None:
            if not isinstance(reply, list):  # b"OK" would unpack into integers
                raise TypeError
            value, digit, *skipped = reply
            digits = str(int(digit))
            if skipped:
                self._warn_skipped(str(skipped[0], "utf-8", "replace"))
        elif not self._screened and b" " not in reply:
            return int(reply), ""
        else:
            counted, _, skipped_part = str(reply, "utf-8", "replace").partition(" ")
            value, _, digits = counted.partition(":")
            if skipped_part:
                self._warn_skipped(skipped_part)
            if not self._screened:
                return int(value), ""
        if len(digits) != len(self.hits):
            raise ValueError
        return int(value), digits

    def _warn_skipped(self, skipped: str) -> None:
        warn_skipped(skipped)
        self._reported = None  # the store may have stored neither the visitors nor their mark

    def reject(self, error: CounterError) -> None:
        """Set the error of all hits that have none."""
        for hit in self.hits:
            if hit.error is None:
                hit.error = error


def make_sender() -> str:
    """Return a random word that copied processes do not share, from the operating system."""
    return os.urandom(8).hex()  # secrets takes twice as long


def is_taken(error: BaseException | None) -> bool:
    """Return whether a copied process used the sequence number: the call did not count."""
    return isinstance(error, StoreRejectedError) and str(error.__cause__).startswith("TAKEN")


def is_stale(error: BaseException | None) -> bool:
    """Return whether the writer has used later sequence numbers, by itself or as a copy."""
    return isinstance(error, StoreRejectedError) and str(error.__cause__).startswith("STALE")


def is_behind(error: BaseException | None) -> bool:
    """Return whether the store lacks an earlier call of the writer: the call did not count."""
    return isinstance(error, StoreRejectedError) and str(error.__cause__).startswith("BEHIND")
