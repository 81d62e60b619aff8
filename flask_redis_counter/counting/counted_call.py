"""A call of a counting script that has counted, to send it again if the store loses it."""

from __future__ import annotations

import secrets
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from ..limits import UNLIMITED
from ..store.connections import Command
from ..store.keys import get_keys, hit_keys, idempotency_record, writer_record
from ..store.scripts import HIT, HIT_ONCE

#: The fields of :class:`CountedCall` as a plain tuple. Python's garbage collector examines a plain
#: tuple of strings and numbers once, but a named tuple each time.
CountedFields: TypeAlias = tuple[
    str, int, str, int, str, int, str | None, str, tuple[str, ...], int
]


class CountedCall(NamedTuple):
    """What a call has counted, under its identity.

    :ivar key: key of the counter.
    :ivar amount: sum of the amounts that counted.
    :ivar writer: the writer's id.
    :ivar sequence: the writer's number of the call.
    :ivar sender: random word of the call.
    :ivar earlier: number of the writer's call on this counter that has to be stored before it; 0:
        none.
    :ivar idempotency_key: idempotency key, which then is the identity; or None.
    :ivar hour: hour of the hits, as ``2026-11-23T15``.
    :ivar visitors: hashes of the visitors.
    :ivar hit_count: number of hits that counted.
    """

    key: str
    amount: int
    writer: str
    sequence: int
    sender: str
    earlier: int
    idempotency_key: str | None
    hour: str
    visitors: tuple[str, ...]
    hit_count: int

    def command(self) -> Command:
        """Return the command that counts it again, without limits: they were checked before."""
        day = self.hour[:10]
        keys: tuple[str, ...] = hit_keys(self.key, day)
        more: tuple[str | int, ...] = ()
        if self.visitors:
            known = get_keys(self.key)
            keys += (known.marks, known.visitors, known.salt)
            more = ("", "", 0, salt_seed(day), *self.visitors)
        counted = (self.amount, self.hour, UNLIMITED, *more)
        if self.idempotency_key is not None:
            record = idempotency_record(self.key, self.idempotency_key)
            return HIT_ONCE.evalsha((self.key, record, *keys), self.sender, *counted)
        record = writer_record(self.key, self.writer)
        identity = call_identity(self.sequence, self.sender, self.earlier)
        return HIT.evalsha((self.key, record, *keys), identity, *counted)


def call_identity(sequence: int, sender: str, earlier: int) -> str:
    """Return the argument that identifies a call to the script.

    :param earlier: number of the call that has to be stored before; 0: none.
    """
    return f"{sequence}:{sender}:{earlier}" if earlier else f"{sequence}:{sender}"


@lru_cache(maxsize=2)
def salt_seed(_day: str) -> str:
    """Return a random candidate for the salt of a day; the store keeps the first one it gets."""
    return secrets.token_hex(16)
