"""State per event loop, for objects that are used from several event loops."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from ..forking import ForkSafe

_T = TypeVar("_T")


class PerLoop(ForkSafe, Generic[_T]):
    """One state for each event loop, created at its first use there.

    Thread-safe. A state is closed when its loop ends, by a suspended asynchronous generator: the
    only hook of asyncio for the end of a loop is ``shutdown_asyncgens``, which ``asyncio.run`` and
    asgiref call.

    :param create: creates the state, in its loop.
    :param close: closes the state, in its loop.
    """

    def __init__(self, create: Callable[[], _T], close: Callable[[_T], Awaitable[None]]) -> None:
        self._create = create
        self._close = close
        self._inherited: list[Any] = []
        self._states: dict[asyncio.AbstractEventLoop, tuple[_T, AsyncGenerator[None, None]]] = {}
        super().__init__()
        self.enter()

    def get(self) -> _T:
        """Return the state of the running loop. Call :meth:`enter` first."""
        loop = asyncio.get_running_loop()
        last = self._last
        if last is not None and last[0] is loop:
            return last[1]
        return self._get_or_create(loop)

    def get_all(self) -> list[_T]:
        """Return the states of all loops that have not ended, for tests."""
        with self._lock:
            return [state for state, _ in self._states.values()]

    def _reset(self) -> None:
        # Keep the parent's connections: closing one would remove it from the shared selector.
        self._inherited.append(self._states)
        self._lock = threading.Lock()
        # The states keep their loops alive, so no other loop can have the same id.
        self._states = {}
        self._last: tuple[asyncio.AbstractEventLoop, _T] | None = None

    def _get_or_create(self, loop: asyncio.AbstractEventLoop) -> _T:
        with self._lock:
            found = self._states.get(loop)
            if found is None:
                # Drop loops that were closed without shutdown_asyncgens.
                for closed in [loop for loop in self._states if loop.is_closed()]:
                    del self._states[closed]
                state = self._create()
                waiting = _close_with_loop(weakref.ref(self), loop, state, self._close)
                with suppress(StopIteration):
                    waiting.__anext__().send(None)  # up to its yield, so that the loop registers it
                found = self._states[loop] = (state, waiting)
        self._last = (loop, found[0])
        return found[0]

    def _drop(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._states.pop(loop, None)
            if self._last is not None and self._last[0] is loop:
                self._last = None


async def _close_with_loop(
    states: weakref.ref[PerLoop[_T]],
    loop: asyncio.AbstractEventLoop,
    state: _T,
    close: Callable[[_T], Awaitable[None]],
) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        if (alive := states()) is not None:
            alive._drop(loop)
        await close(state)
