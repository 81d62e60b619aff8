"""Rows of the spool: calls to replay, and hits to write."""

from __future__ import annotations

import re
import sqlite3
import time
from typing import Any

from ..counting.call import ScriptCall
from ..counting.counted_call import CountedFields
from ..counting.hit import PendingHit
from ..errors import CounterError, IdempotencyKeyReusedError, OutcomeUnknownError, SpoolError
from ..series import current_hour
from ..validation import MAX_VALUE


class Row:
    """A row to replay.

    :ivar id: its id.
    :ivar hits: number of its hits.
    :ivar is_new: whether it was never sent before.
    :ivar call: the call of the script that counts it.
    """

    __slots__ = ("call", "hits", "id", "is_new")

    def __init__(self, id_: int, hits: int, sent: float | None, earlier: int, *call: Any) -> None:
        self.id: int = id_
        self.hits: int = hits
        self.is_new: bool = sent is None
        key, amount, writer, number, idempotency_key, hour, sender = call
        self.call: ScriptCall = ScriptCall(
            key, amount, writer, number, idempotency_key or None, hour, sender
        )
        self.call.earlier = earlier

    def counted(self) -> CountedFields:
        """Return what the call has counted."""
        call = self.call
        return (
            *(call.key, call.amount, call.writer, call.sequence, call.sender, call.earlier),
            *(call.idempotency_key, call.hour, (), self.hits),
        )


class NewRow:
    """A hit to write, with the columns of its row.

    :ivar done: whether it is written, or cannot be.
    :ivar error: why it is not written; None: it is.
    """

    __slots__ = ("_columns", "_earlier", "_is_new", "done", "error")

    def __init__(self, hit: PendingHit) -> None:
        self.done: bool = False
        self.error: CounterError | None = None
        # A hit that certainly did not count gets a new identity.
        call = hit.call if isinstance(hit.error, OutcomeUnknownError) else None
        hour = current_hour() if call is None else call.hour
        self._is_new = False
        self._earlier = 0
        if hit.idempotency_key is not None:
            # The idempotency key is the identity, whether or not the hit was sent before.
            sent = None if call is None else time.time()
            self._columns = (
                hit.key,
                "token",
                0,
                hit.idempotency_key,
                "",
                hit.amount,
                1,
                hour,
                sent,
            )
        elif call is not None:
            # A row for all hits of the call: each of them writes the same row.
            self._columns = (
                *(call.key, call.writer, call.sequence, call.idempotency_key or "", call.sender),
                *(call.amount, len(call.hits), hour, time.time()),
            )
            self._earlier = call.earlier
        else:
            self._is_new = True
            open_row = int(re.sub(r"\D", "", hour))  # one open row for each hour
            self._columns = (hit.key, "", open_row, "", "", hit.amount, 1, hour, None)

    def write(self, database: sqlite3.Connection) -> None:
        """Insert the row, or add the hit to an open one; set the error if that is impossible."""
        insert = "INSERT INTO entry "
        insert += "(key, writer, number, token, sender, amount, hits, hour, sent, earlier) "
        insert += "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT "
        columns = (*self._columns, self._earlier)
        if not self._is_new:
            database.execute(f"{insert} DO NOTHING", columns)
            (stored_amount,) = database.execute(
                "SELECT amount FROM entry "
                "WHERE (key, writer, number, token, sender) = (?, ?, ?, ?, ?)",
                self._columns[:5],
            ).fetchone()
            if stored_amount != self._columns[5]:
                self.error = IdempotencyKeyReusedError(str(stored_amount))
            return
        room = MAX_VALUE - self._columns[5]
        cursor = database.execute(
            f"{insert} DO UPDATE SET amount = amount + excluded.amount, hits = hits + 1 "
            "WHERE amount <= ?",
            (*columns, room),
        )
        if cursor.rowcount == 0:
            self.error = SpoolError(
                "the sum of the spooled amounts would exceed a signed 64-bit integer"
            )
