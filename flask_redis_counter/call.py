"""A hit, and the script's call that counts it, alone or together with others."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any, Self

from .connections import Command
from .days import this_hour
from .errors import (
    CounterError,
    OutcomeUnknownError,
    StoreRefusedError,
    StoreUnavailableError,
    StoreUnsuitableError,
)
from .rules import names_key

#: Seconds after which the store forgets a writer that is gone, and a client's token: the scripts'
#: LIFE.
RECORD_LIFE = 24 * 60 * 60


#: More counters than there will be: a hit makes its own, however many there are.
ANY_NUMBER = 2**53 - 1


class Script:
    """A script and the commands that run it."""

    def __init__(self, *names: str) -> None:
        folder = files(__package__).joinpath("scripts")
        self.text = "".join(folder.joinpath(name).read_text("utf-8") for name in names)
        self._digest = hashlib.sha1(self.text.encode()).hexdigest()  # noqa: S324  # Redis wants it

    def run(self, keys: Sequence[str], *arguments: str | int) -> Command:
        """Return the command that runs it."""
        return ("EVALSHA", self._digest, len(keys), *keys, *arguments)

    def load(self) -> Command:
        """Return the command that makes it known to the server."""
        return ("SCRIPT LOAD", self.text)


HIT = Script("count.lua", "hit.lua")
HIT_ONCE = Script("count.lua", "hit_once.lua")


class PendingHit:
    """A hit on its way.

    :ivar ends: when its deadline is over, by the driver's clock.
    :ivar visitor: what tells who it is from others, None where nobody asks.
    :ivar limit: how many counters there may be before it makes no other.
    :ivar once_in: within how many seconds the visitor counts once, None: each time.
    :ivar batch: the batch that it goes with, once it does.
    :ivar call: the script's call that counts it, once it was sent.
    :ivar leads: whether it is up to this hit's driver to carry that batch.
    :ivar value: what it brought the counter to, once that is known.
    :ivar error: why it did not, otherwise.
    :ivar replayed: whether another hit with its token had counted.
    :ivar counted: whether it counted, once there is a value; not where its visitor had.
    :ivar wake: for the driver, to wake who waits for it.
    """

    __slots__ = (
        "amount",
        "batch",
        "call",
        "counted",
        "ends",
        "error",
        "key",
        "leads",
        "limit",
        "once_in",
        "replayed",
        "token",
        "value",
        "visitor",
        "wake",
    )

    def __init__(
        self,
        key: str,
        amount: int,
        token: str | None,
        ends: float = 0.0,
        *,
        visitor: str | None = None,
        limit: int = ANY_NUMBER,
        once_in: int | None = None,
    ) -> None:
        self.key = key
        self.amount = amount
        self.token = token
        self.ends = ends
        self.visitor = visitor
        self.limit = limit
        self.once_in = once_in
        self.batch: Any = None
        self.call: Call | None = None
        self.leads = False
        self.value: int | None = None
        self.error: CounterError | None = None
        self.replayed = False
        self.counted = True
        self.wake: Any = None

    @property
    def waits(self) -> bool:
        """Whether it has no outcome yet."""
        return self.value is None and self.error is None

    def outcome(self) -> int:
        """Return its value, or raise why there is none."""
        if self.error is not None:
            raise _own(self.error if self.token is None else _with_token(self.error))
        if self.value is None:
            raise OutcomeUnknownError("the hit was given up")
        return self.value


class Call:
    """One call of a script: the hits of a counter that count together, or one with a token."""

    __slots__ = (
        "_visitors",
        "amount",
        "hits",
        "hour",
        "key",
        "limit",
        "number",
        "once_in",
        "sender",
        "token",
        "writer",
    )

    def __init__(
        self,
        key: str,
        amount: int,
        writer: str,
        number: int,
        token: str | None,
        hour: str,
        limit: int = ANY_NUMBER,
    ) -> None:
        self.key = key
        self.amount = amount
        self.writer = writer
        self.number = number
        self.token = token
        self.hour = hour
        self.limit = limit
        self.once_in: int | None = None
        self._visitors: dict[str, None] = {}
        # Tells a repeat of this call from another hit with the same token.
        self.sender = "" if token is None else secrets.token_hex(8)
        self.hits: list[PendingHit] = []

    @classmethod
    def of(cls, hit: PendingHit, writer: str, number: int, token: str | None) -> Self:
        """Return a call for one hit, to which others may be added."""
        call = cls(hit.key, 0, writer, number, token, this_hour(), hit.limit)
        call.join(hit)
        return call

    def join(self, hit: PendingHit) -> None:
        """Let a hit count together with the others."""
        self.amount += hit.amount
        if hit.limit > self.limit:
            self.limit = hit.limit
        self.hits.append(hit)
        hit.call = self
        if hit.visitor is not None:
            self._visitors[hit.visitor] = None

    def command(self) -> Command:
        """Return the command, the same each time."""
        day = self.hour[:10]
        visitors = (_secret(day), *self._visitors) if self._visitors else ()
        counted: tuple[str | int, ...] = (self.amount, self.hour, self.limit, *visitors)
        if self.token is None:
            keys = (self.key, f"{self.key}:writer:{self.writer}", *_keys(self.key, day))
            return HIT.run(keys, self.number, *counted)
        keys = (self.key, f"{self.key}:token:{self.token}", *_keys(self.key, day))
        if self.once_in is None:
            return HIT_ONCE.run(keys, self.sender, *counted)
        return HIT_ONCE.run((*keys, f"{self.key}:seen"), self.sender, *counted, self.once_in)

    def settle(self, answer: Any) -> None:
        """Give each hit its own value.

        :raises OutcomeUnknownError: the answer is none that the script gives.
        """
        try:
            if self.token is None:
                value, said = int(answer), 0
            elif isinstance(answer, list):  # not the bytes of b"OK", which are integers as well
                value, said = int(answer[0]), int(answer[1])
            else:
                raise TypeError
        except (TypeError, ValueError, IndexError) as error:
            raise OutcomeUnknownError(f"the answer is no integer: {answer!r:.100}") from error
        if said == 2:
            self.hits[0].counted = False
        else:
            value -= self.amount
        for hit in self.hits:
            value += hit.amount if hit.counted else 0
            if hit.error is None:
                hit.value = value
                hit.replayed = said == 1

    def refuse(self, error: CounterError) -> None:
        """Let all its hits fail."""
        for hit in self.hits:
            if hit.error is None:
                hit.error = error


@lru_cache(maxsize=1024)
def _keys(key: str, day: str) -> tuple[str, ...]:
    """Return the keys of what describes a counter's hits of a day."""
    hours = f"{key}:hours:{day}"
    return (f"{key}:days", hours, f"{key}:visitors", f"{key}:salt", names_key(key))


@lru_cache(maxsize=2)
def _secret(_day: str) -> str:
    """Return what may become the salt of a day; nobody else knows it, and it is soon forgotten."""
    return secrets.token_hex(16)


def _with_token(error: CounterError) -> CounterError:
    """Return what an error says of a hit that may have been sent before, under its token."""
    unsent = isinstance(error, StoreUnavailableError | StoreRefusedError)
    if not unsent or isinstance(error, StoreUnsuitableError):
        return error
    unknown = OutcomeUnknownError(
        f"this attempt did not count, and whether one before it did, the store knows: {error}"
    )
    unknown.__cause__ = error
    return unknown


def _own(error: CounterError) -> CounterError:
    """Return an error of one's own: several threads must not raise the same object."""
    own = type(error).__new__(type(error))
    own.args = error.args
    own.__dict__.update(error.__dict__)
    own.__cause__ = error.__cause__
    return own
