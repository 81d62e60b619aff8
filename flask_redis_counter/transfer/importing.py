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

from ..counting.call import Script
from ..errors import NotAnIntegerError, StoreRefusedError
from ..notices import warn_skipped
from ..series import recent, this_hour
from ..store.connections import outcome_of
from ..store.queries import Operation
from ..validation import names_key
from .records import Day, Record

ADOPT = Script("adopt.lua")

#: What becomes of a counter that is there already.
Mode: TypeAlias = Literal["leave", "add", "replace"]

#: What has become of a counter: it was made, added to or replaced; it is as its source has
#: brought it before; it was left alone, because it was there or because its source has less of
#: it than before; or it could not be changed.
Verdict: TypeAlias = Literal["made", "added", "replaced", "same", "left", "less", "refused"]

_DONE: dict[str, Verdict] = {"make": "made", "add": "added", "set": "replaced"}

#: What a source has brought that has not been here.
NO_DAY = Day(0)
NOTHING = Record("", 0)


def adopted(key: str, record: Record, source: str, mode: Mode, limit: int) -> Operation[Verdict]:
    """Bring one counter in.

    The script does what it is told if the counter is as it is believed to be: at first that it
    is not there, and then as the script has answered.
    """
    field = _field(source, record)
    verb, before, brought, change = "make", "", NOTHING, record
    while True:
        described = [f"{key}:{it}" for it in ("imported", "days", "visitors", "told", "salt")]
        keys = [key, names_key(key), *described]
        if verb == "set":
            keys += [f"{key}:hours:{date}" for date in recent()]
        after = _written(record, brought)
        command = ADOPT.run(
            keys, verb, limit, field, before, after, change.value, this_hour()[:10], *_days(change)
        )
        (answer,) = yield [command]
        if isinstance(answer, StoreRefusedError) and isinstance(answer.__cause__, NoScriptError):
            _, answer = yield [ADOPT.load(), command]  # the server was started anew
        if isinstance(answer, StoreRefusedError):
            raise outcome_of(answer, key) from answer.__cause__
        if isinstance(answer, list):
            warn_skipped(answer[1].decode("utf-8", "replace"))
        if answer == 1 or isinstance(answer, list):
            return _DONE[verb]
        before = "" if answer == 0 else answer.decode()
        brought = _read(before, key) if before else NOTHING
        if answer == 0:
            verb, change = "make", record
        elif before == _written(record, brought) or (
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


def _field(source: str, record: Record) -> str:
    """Return under what it is kept what a source has brought: in ASCII, as all that is sent."""
    words = filter(None, (source, record.origin))
    return " ".join(quote(it, "!#$&'()*+,/:;=?@[]~", errors="surrogateescape") for it in words)


def _written(record: Record, brought: Record) -> str:
    """Return what a source has brought as it is kept: ``12 2026-11-20=5/3 2026-11-21=7``.

    Days that it no longer tells of stay in there: it has brought them.
    """
    words = [str(record.value)]
    for date, day in sorted({**brought.days, **record.days}.items()):
        words.append(f"{date}={day.hits}" + ("" if day.visitors is None else f"/{day.visitors}"))
    return " ".join(words)


def _read(written: str, key: str) -> Record:
    try:
        value, *days = written.split(" ")
        found = {}
        for day in days:
            date, _, numbers = day.partition("=")
            hits, _, visitors = numbers.partition("/")
            found[date] = Day(int(hits), int(visitors) if visitors else None)
        return Record("", int(value), found)
    except ValueError as error:
        raise NotAnIntegerError(f"{key}:imported") from error


def _same(brought: Record, record: Record) -> bool:
    """Whether the hits are the same; visitors are a number only when their day is over."""
    known = {date: brought.days.get(date, NO_DAY).hits for date in record.days}
    hits = {date: day.hits for date, day in record.days.items()}
    return brought.value == record.value and known == hits


def _difference(record: Record, brought: Record) -> Record:
    days = {}
    for date, day in record.days.items():
        before = brought.days.get(date, NO_DAY)
        hits, visitors = day.hits - before.hits, (day.visitors or 0) - (before.visitors or 0)
        if hits or visitors:
            days[date] = Day(hits, visitors or None)
    return Record(record.name, record.value - brought.value, days)


def _days(record: Record) -> Iterator[str | int]:
    for date, day in sorted(record.days.items()):
        yield from (date, day.hits, "" if day.visitors is None else day.visitors)
