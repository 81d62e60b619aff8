"""Operations: exchanges with the store as generators without I/O.

An operation yields the commands of a round trip, is sent their replies, and returns its result. So
the threaded and the asyncio counter share it. An error reply is a
:class:`~flask_redis_counter.errors.StoreRejectedError` in its place in the list of replies.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from itertools import chain, islice
from typing import Any, TypeAlias, TypeVar

from ..errors import CounterError, StoreError
from .connections import Command

_T = TypeVar("_T")

#: A generator of round trips that returns ``_T``.
Operation: TypeAlias = Generator[list[Command], list[Any], _T]


def run(operation: Operation[_T], send: Callable[[list[Command]], list[Any]]) -> _T:
    """Run an operation; ``send`` does a round trip."""
    try:
        commands = next(operation)
        while True:
            try:
                replies = send(commands)
            except StoreError as error:
                commands = operation.throw(error)
            else:
                commands = operation.send(replies)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def run_async(
    operation: Operation[_T], send: Callable[[list[Command]], Awaitable[list[Any]]]
) -> _T:
    """Run an operation with asyncio; ``send`` does a round trip."""
    try:
        commands = next(operation)
        while True:
            try:
                replies = await send(commands)
            except StoreError as error:
                commands = operation.throw(error)
            else:
                commands = operation.send(replies)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def gather(*operations: Operation[Any]) -> Operation[list[Any]]:
    """Run operations side by side: each step of them all is one round trip.

    :returns: their results. A :class:`CounterError` takes the place of the result of an operation
        that raised it.
    """
    results: list[Any] = [None] * len(operations)
    steps: dict[int, list[Command]] = {}

    def advance(number: int, replies: list[Any] | None) -> None:
        try:
            steps[number] = operations[number].send(replies)  # type: ignore[arg-type]
        except (StopIteration, CounterError) as end:
            steps.pop(number, None)
            results[number] = end.value if isinstance(end, StopIteration) else end

    for number in range(len(operations)):
        advance(number, None)
    while steps:
        replies = iter((yield list(chain(*steps.values()))))
        for number, commands in list(steps.items()):
            advance(number, list(islice(replies, len(commands))))
    return results
