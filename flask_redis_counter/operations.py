"""What a counter asks of the store besides counting, without I/O.

Each operation is a generator: it yields commands, is sent their answers, and returns its
result. So the counter for threads and the one for asyncio share them.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Generator, Mapping
from importlib.resources import files
from typing import Any, TypeAlias, TypeVar

from .connections import Command
from .errors import StoreError, StoreRefusedError
from .rules import NAME, number_in

_SWAP = files(__package__).joinpath("scripts", "swap.lua").read_text("utf-8")

_T = TypeVar("_T")

Operation: TypeAlias = Generator[list[Command], list[Any], _T]


def run(operation: Operation[_T], send: Callable[[list[Command]], list[Any]]) -> _T:
    """Carry an operation out."""
    try:
        commands = next(operation)
        while True:
            try:
                answers = send(commands)
            except StoreError as error:
                commands = operation.throw(error)
            else:
                commands = operation.send(answers)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def run_async(
    operation: Operation[_T], send: Callable[[list[Command]], Awaitable[list[Any]]]
) -> _T:
    """Carry an operation out with asyncio."""
    try:
        commands = next(operation)
        while True:
            try:
                answers = await send(commands)
            except StoreError as error:
                commands = operation.throw(error)
            else:
                commands = operation.send(answers)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def read(key: str, default: Any) -> Operation[Any]:
    """Read one counter."""
    (answer,) = yield [("GET", key)]
    return number_in(answer, key, default)


def read_many(keys: Mapping[str, str]) -> Operation[dict[str, int]]:
    """Read the counters that names stand for, zero for those that do not exist."""
    if not keys:
        return {}
    # Not MGET: it answers nil, and so zero, for a key of another type.
    answers = yield [("GET", key) for key in keys.values()]
    return {
        name: number_in(answer, key, 0)
        for (name, key), answer in zip(keys.items(), answers, strict=True)
    }


def swap(key: str, value: int) -> Operation[int]:
    """Set a counter and return the value that it had."""
    (answer,) = yield [("EVAL", _SWAP, 1, key, value)]
    return int(number_in(answer, key, 0))


def names(prefix: str) -> Operation[list[str]]:
    """Find the names of all counters, sorted."""
    start = f"{prefix}{{"
    found: set[str] = set()
    cursor = 0
    while True:
        (answer,) = yield [("SCAN", cursor, "MATCH", f"{start}*}}", "COUNT", 1000)]
        if isinstance(answer, StoreRefusedError):
            raise answer
        cursor = int(answer[0])
        found.update(
            key.decode("utf-8", "replace").removeprefix(start).removesuffix("}")
            for key in answer[1]
        )
        if cursor == 0:
            return sorted(name for name in found if NAME.fullmatch(name))


def ping() -> Operation[None]:
    """Ask for a sign of life."""
    (answer,) = yield [("PING",)]
    if isinstance(answer, StoreRefusedError):
        raise answer


def risks() -> Operation[list[str]]:
    """Find out how the server is set up to lose what it has acknowledged."""
    # Managed servers allow INFO, and often not CONFIG.
    memory, persistence, config = yield [
        ("INFO", "memory"),
        ("INFO", "persistence"),
        ("CONFIG GET", "appendfsync"),
    ]
    found = []
    policy = _fact(memory, "maxmemory_policy")
    if policy not in ("", "noeviction"):
        found.append(
            f"maxmemory-policy is {policy}: when its memory is full, the store deletes counters, "
            "or what keeps a repeated hit from counting twice; noeviction refuses hits instead"
        )
    if _fact(persistence, "aof_enabled") == "0":
        found.append(
            "appendonly is off: when the store dies, all hits since its last snapshot are lost"
        )
    elif isinstance(config, list) and config[1:] in ([b"everysec"], [b"no"]):
        found.append(
            f"appendfsync is {config[1].decode()}: when the store dies while its disk is slow, or "
            "the power fails, the hits of the last seconds are lost; always loses none"
        )
    return found


def _fact(info: Any, name: str) -> str:
    text = info.decode("utf-8", "replace") if isinstance(info, bytes) else ""
    found = re.search(rf"^{name}:(.*?)\r?$", text, re.M)
    return found[1] if found else ""
