"""What becomes of a counter that is brought in, without I/O.

It is brought once: beside each counter the store keeps what each source has brought, in the script
call that counts it. So all may be sent again, after an interrupt as after an answer that was lost,
and only what is new makes a difference.
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

#: What becomes of a counter that is there already.
OnConflict: TypeAlias = Literal["leave", "add", "replace"]

#: What has become of a counter: it was made, added to or replaced; it is as its source has
#: brought it before; it was left alone, because it was there or because its source has less of
#: it than before; or it could not be changed.
ImportStatus: TypeAlias = Literal["made", "added", "replaced", "same", "left", "less", "refused"]

_DONE: dict[str, ImportStatus] = {"make": "made", "add": "added", "set": "replaced"}

#: What a source has brought that has not been here.
EMPTY_DAY = DayRecord(0)
EMPTY_RECORD = CounterRecord("", 0)


def import_counter(
    key: str, record: CounterRecord, source: str, mode: OnConflict, limit: int
) -> Operation[ImportStatus]:
    """Bring one counter in.

    The script does what it is told if the counter is as it is believed to be: at first that it
    is not there, and then as the script has answered.
    """
    keys = CounterKeys(key)
    described = (keys.imported, keys.days, keys.visitors, keys.told, keys.salt)
    field = _source_field(source, record)
    verb, before, brought, change = "make", "", EMPTY_RECORD, record
    while True:
        hours = keys.all_hours() if verb == "set" else ()
        after = _serialize(record, brought)
        command = IMPORT.evalsha(
            (key, keys.names, *described, *hours),
            verb,
            limit,
            field,
            before,
            after,
            change.value,
            current_hour()[:10],
            *_days(change),
        )
        (answer,) = yield [command]
        if isinstance(answer, StoreRejectedError) and isinstance(answer.__cause__, NoScriptError):
            _, answer = yield [IMPORT.load(), command]  # the server was started anew
        if isinstance(answer, StoreRejectedError):
            raise translate_script_error(answer, key) from answer.__cause__
        if isinstance(answer, list):
            warn_skipped(answer[1].decode("utf-8", "replace"))
        if answer == 1 or isinstance(answer, list):
            return _DONE[verb]
        before = "" if answer == 0 else answer.decode()
        brought = _parse(before, keys.imported) if before else EMPTY_RECORD
        if answer == 0:
            verb, change = "make", record
        elif before == _serialize(record, brought) or (
            mode != "add" and before and _same(brought, record)
        ):
            return "same"
        elif mode == "leave":
            return "left"
        elif mode == "replace":
            verb, change = "set", record
        elif before and record.value < brought.value:
            return "less"
        else:
            verb, change = "add", _difference(record, brought)


def _source_field(source: str, record: CounterRecord) -> str:
    """Return under what it is kept what a source has brought: in ASCII, as all that is sent."""
    words = filter(None, (source, record.origin))
    return " ".join(quote(it, "!#$&'()*+,/:;=?@[]~", errors="surrogateescape") for it in words)


def _serialize(record: CounterRecord, brought: CounterRecord) -> str:
    """Return what a source has brought as it is kept: ``12 2026-11-20=5/3 2026-11-21=7``.

    Days that it no longer tells of stay in there: it has brought them.
    """
    words = [str(record.value)]
    for date, day in sorted({**brought.days, **record.days}.items()):
        words.append(f"{date}={day.hits}" + ("" if day.visitors is None else f"/{day.visitors}"))
    return " ".join(words)


def _parse(written: str, key: str) -> CounterRecord:
    try:
        value, *days = written.split(" ")
        found = {}
        for day in days:
            date, _, numbers = day.partition("=")
            hits, _, visitors = numbers.partition("/")
            found[date] = DayRecord(int(hits), int(visitors) if visitors else None)
        return CounterRecord("", int(value), found)
    except ValueError as error:
        raise NotAnIntegerError(key) from error


def _same(brought: CounterRecord, record: CounterRecord) -> bool:
    """Whether the hits are the same; visitors are a number only when their day is over."""
    known = {date: brought.days.get(date, EMPTY_DAY).hits for date in record.days}
    hits = {date: day.hits for date, day in record.days.items()}
    return brought.value == record.value and known == hits


def _difference(record: CounterRecord, brought: CounterRecord) -> CounterRecord:
    days = {}
    for date, day in record.days.items():
        before = brought.days.get(date, EMPTY_DAY)
        hits, visitors = day.hits - before.hits, (day.visitors or 0) - (before.visitors or 0)
        if hits or visitors:
            days[date] = DayRecord(hits, visitors or None)
    return CounterRecord(record.name, record.value - brought.value, days)


def _days(record: CounterRecord) -> Iterator[str | int]:
    for date, day in sorted(record.days.items()):
        yield from (date, day.hits, "" if day.visitors is None else day.visitors)
