"""Import of one counter, idempotent per source, without I/O.

In the same script call that changes a counter, the store remembers what each source has imported
into it. An import can therefore be repeated, after an interrupt or a lost reply: only the
difference from the last import of the same source is applied.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias
from urllib.parse import quote

from redis.exceptions import NoScriptError

from ..errors import NotAnIntegerError, StoreRejectedError
from ..log_throttle import warn_skipped
from ..series import current_hour
from ..store.keys import CounterKeys
from ..store.operation import Operation
from ..store.replies import translate_script_error
from ..store.scripts import IMPORT
from .records import CounterRecord, DayRecord

#: What to do with a counter that exists.
OnConflict: TypeAlias = Literal["skip", "add", "replace"]

#: Result of an import: the counter was ``made``, ``added`` to or ``replaced``; ``unchanged``: its
#: source imported the same before; ``skipped``: the counter exists; ``behind``: its source imported
#: more before than it has now; ``refused``: the counter could not be changed.
ImportStatus: TypeAlias = Literal[
    "made", "added", "replaced", "unchanged", "skipped", "behind", "refused"
]

_STATUS_OF_VERB: dict[str, ImportStatus] = {"make": "made", "add": "added", "set": "replaced"}

#: Records of a day and a counter of which nothing was imported yet.
EMPTY_DAY = DayRecord(0)
EMPTY_RECORD = CounterRecord("", 0)


def import_counter(
    key: str, record: CounterRecord, source: str, on_conflict: OnConflict, limit: int
) -> Operation[ImportStatus]:
    """Import one counter.

    The script compares and sets: it changes the counter only if the counter is in the expected
    state. The first call expects that it does not exist; each further call expects the state that
    the previous call returned.

    :param limit: largest number of counters; no more are created.
    """
    keys = CounterKeys(key)
    described = (keys.imported, keys.days, keys.visitors, keys.marks, keys.salt)
    field = _source_field(source, record)
    verb, expected, imported, change = "make", "", EMPTY_RECORD, record
    while True:
        hours = keys.all_hours() if verb == "set" else ()
        command = IMPORT.evalsha(
            (key, keys.names, *described, *hours),
            verb,
            limit,
            field,
            expected,
            _serialize(record, imported),
            change.value,
            current_hour()[:10],
            *_day_arguments(change),
        )
        (reply,) = yield [command]
        if isinstance(reply, StoreRejectedError) and isinstance(reply.__cause__, NoScriptError):
            _, reply = yield [IMPORT.load(), command]  # the server was restarted
        if isinstance(reply, StoreRejectedError):
            raise translate_script_error(reply, key) from reply.__cause__
        if isinstance(reply, list):
            warn_skipped(reply[1].decode("utf-8", "replace"))
        if reply == 1 or isinstance(reply, list):
            return _STATUS_OF_VERB[verb]
        expected = "" if reply == 0 else reply.decode()
        imported = _parse(expected, keys.imported) if expected else EMPTY_RECORD
        if reply == 0:
            verb, change = "make", record
        elif expected == _serialize(record, imported) or (
            on_conflict != "add" and expected and _has_same_hits(imported, record)
        ):
            return "unchanged"
        elif on_conflict == "skip":
            return "skipped"
        elif on_conflict == "replace":
            verb, change = "set", record
        elif expected and record.value < imported.value:
            return "behind"
        else:
            verb, change = "add", _difference(record, imported)


def _source_field(source: str, record: CounterRecord) -> str:
    """Return the hash field of what a source has imported, in ASCII."""
    words = filter(None, (source, record.source_key))
    return " ".join(quote(word, "!#$&'()*+,/:;=?@[]~", errors="surrogateescape") for word in words)


def _serialize(record: CounterRecord, imported: CounterRecord) -> str:
    """Return what a source has imported as the store keeps it: ``12 2026-11-20=5/3 2026-11-21=7``.

    Days that the source no longer has stay in it, because they were imported.
    """
    words = [str(record.value)]
    for date, day in sorted({**imported.days, **record.days}.items()):
        words.append(f"{date}={day.hits}" + ("" if day.visitors is None else f"/{day.visitors}"))
    return " ".join(words)


def _parse(text: str, key: str) -> CounterRecord:
    """Parse the result of :func:`_serialize`.

    :raises NotAnIntegerError: the text is another program's.
    """
    try:
        value, *days = text.split(" ")
        parsed = {}
        for day in days:
            date, _, numbers = day.partition("=")
            hits, _, visitors = numbers.partition("/")
            parsed[date] = DayRecord(int(hits), int(visitors) if visitors else None)
        return CounterRecord("", int(value), parsed)
    except ValueError as error:
        raise NotAnIntegerError(key) from error


def _has_same_hits(imported: CounterRecord, record: CounterRecord) -> bool:
    """Return whether value and hits are the same.

    Visitors are not compared: their number is exported only after the end of their day.
    """
    known = {date: imported.days.get(date, EMPTY_DAY).hits for date in record.days}
    hits = {date: day.hits for date, day in record.days.items()}
    return imported.value == record.value and known == hits


def _difference(record: CounterRecord, imported: CounterRecord) -> CounterRecord:
    days = {}
    for date, day in record.days.items():
        before = imported.days.get(date, EMPTY_DAY)
        hits, visitors = day.hits - before.hits, (day.visitors or 0) - (before.visitors or 0)
        if hits or visitors:
            days[date] = DayRecord(hits, visitors or None)
    return CounterRecord(record.name, record.value - imported.value, days)


def _day_arguments(record: CounterRecord) -> Iterator[str | int]:
    for date, day in sorted(record.days.items()):
        yield from (date, day.hits, "" if day.visitors is None else day.visitors)
