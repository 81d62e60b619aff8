"""The parent process of the server: it starts, replaces and stops worker processes.

Workers are forked, so that they share the memory of the modules that the parent has imported. The
parent holds their listening sockets, and never accepts a connection itself.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import NoReturn, TypeAlias

from ...errors import CounterError
from ...store.backoff import Backoff
from .listeners import Listeners

#: Seconds that requests in flight have to finish when the server stops.
SHUTDOWN_TIMEOUT = 5.0

# Seconds in addition to SHUTDOWN_TIMEOUT, after which a worker that still runs is killed.
_KILL_MARGIN = 1.0

# A worker that ends within these seconds after its start, or before it answers, is replaced with a
# delay if its predecessor did the same. Connections of its slot wait in the meantime.
_EARLY = 1.0
_BACKOFF = Backoff(initial=0.5, maximum=5.0)

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

#: Serves on the sockets of one slot until SIGTERM. The second argument is called once requests are
#: answered.
Worker: TypeAlias = Callable[[list[socket.socket], Callable[[], None]], None]

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Slot:
    """State of the worker of one slot.

    :ivar process: the worker; None if it has ended and is not replaced yet.
    :ivar ready: end of a pipe that the worker writes to once it answers; None after that.
    :ivar ready_at: time at which it answered first; None before that.
    :ivar early_ends: number of workers in a row that ended too early.
    :ivar next_start: time of the next start, if there is no worker; infinite: none.
    """

    index: int
    process: ForkProcess | None = None
    ready: Connection | None = None
    ready_at: float | None = None
    early_ends: int = 0
    next_start: float = 0.0


class Supervisor:
    """Keeps one worker process running for each slot of listening sockets.

    The worker function is called in a forked process, where SIGTERM has its default action, and
    SIGINT and SIGHUP are ignored: the terminal sends these to all processes, and the parent then
    sends SIGTERM. It has to install its handler of SIGTERM inside the running event loop; until
    then the signal ends the process, and none is lost. If the parent is killed, the worker gets
    SIGTERM, and is killed after :data:`SHUTDOWN_TIMEOUT`.

    :param listeners: the listening sockets; closed at the end.
    :param worker: the worker function. It may close its sockets.
    """

    def __init__(self, listeners: Listeners, worker: Worker) -> None:
        self._listeners = listeners
        self._worker = worker
        self._slots = [_Slot(index) for index in range(len(listeners.slots))]
        self._context = multiprocessing.get_context("fork")
        self._has_served = False
        self._is_stopping = False
        # Read end and write end of a pipe whose write end only this process holds: it is closed by
        # the end of this process, whatever causes it.
        self._lifeline = (-1, -1)

    def run(self, started: Callable[[], None]) -> None:
        """Serve until SIGTERM, SIGINT or SIGHUP, then stop all workers. Main thread only.

        The signals are ignored afterwards, so that a second Ctrl-C does not interrupt the caller's
        clean-up. SIGHUP has no effect if it was ignored before (``nohup``).

        :param started: called once the first worker answers requests.
        :raises CounterError: no worker has ever answered, and all of them have ended.
        """
        with ExitStack() as stack:
            stack.enter_context(self._listeners)
            wakeups = stack.enter_context(self._handle_signals())
            self._lifeline = os.pipe()
            for end in self._lifeline:
                stack.callback(os.close, end)
            stack.callback(self._stop_workers)
            self._supervise(wakeups, started)

    def _supervise(self, wakeups: socket.socket, started: Callable[[], None]) -> None:
        while not self._is_stopping:
            self._start_missing()
            self._wait(wakeups)
            for slot in self._slots:
                if slot.ready is not None and slot.ready.poll():
                    self._note_ready(slot, started)
                if slot.process is not None and not slot.process.is_alive():
                    self._note_end(slot, slot.process)
            if not (self._has_served or self._is_stopping or any(s.process for s in self._slots)):
                raise CounterError("the server cannot start: each worker ended, see above")

    def _wait(self, wakeups: socket.socket) -> None:
        """Wait until a worker is ready or has ended, a start is due, or a signal arrives."""
        awaited: list[socket.socket | Connection | int] = [wakeups]
        next_start = math.inf
        for slot in self._slots:
            if slot.ready is not None:
                awaited.append(slot.ready)
            if slot.process is not None:
                awaited.append(slot.process.sentinel)
            else:
                next_start = min(next_start, slot.next_start)
        timeout = None if next_start == math.inf else max(0.0, next_start - time.monotonic())
        if wakeups in wait(awaited, timeout):
            with suppress(BlockingIOError):
                wakeups.recv(4096)

    def _start_missing(self) -> None:
        for slot in self._slots:
            is_due = slot.process is None and time.monotonic() >= slot.next_start
            if is_due and not self._is_stopping:
                self._start(slot)

    def _start(self, slot: _Slot) -> None:
        ready, ready_end = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=self._run_worker, args=(slot.index, ready_end), name=f"worker {slot.index + 1}"
        )
        # A signal between the fork and the worker's own handlers would run the parent's.
        with _blocked_signals():
            process.start()
        ready_end.close()
        slot.process, slot.ready, slot.ready_at = process, ready, None

    def _note_ready(self, slot: _Slot, started: Callable[[], None]) -> None:
        assert slot.ready is not None  # noqa: S101  # for mypy
        try:
            slot.ready.recv_bytes()
        except EOFError:
            pass  # it ended before
        else:
            slot.ready_at = time.monotonic()
            if not self._has_served:
                self._has_served = True
                self._release_failed()
                started()
        slot.ready.close()
        slot.ready = None

    def _note_end(self, slot: _Slot, process: ForkProcess) -> None:
        if slot.ready is not None:
            slot.ready.close()
        slot.process = slot.ready = None
        now = time.monotonic()
        ended_early = slot.ready_at is None or now - slot.ready_at < _EARLY
        slot.early_ends = slot.early_ends + 1 if ended_early else 0
        delay = _BACKOFF.delay(slot.early_ends - 1) if slot.early_ends > 1 else 0.0
        if self._has_served:
            slot.next_start = now + delay
            outcome = f"replaced in {delay:.1f} s" if delay else "replaced"
        else:
            # Its error would probably repeat.
            slot.next_start = math.inf
            outcome = "not replaced unless another one starts"
        _log.error("worker %d ended unexpectedly (%s); %s", process.pid, _reason(process), outcome)
        process.close()

    def _release_failed(self) -> None:
        """Replace the workers that ended before the first one answered."""
        for slot in self._slots:
            slot.next_start = 0.0

    def _stop_workers(self) -> None:
        """Stop accepting, let the workers finish their requests, and kill those that do not."""
        self._listeners.close()
        running = [slot.process for slot in self._slots if slot.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + SHUTDOWN_TIMEOUT + _KILL_MARGIN
        for process in running:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                _log.error("worker %d did not end in time; killed", process.pid)
                process.kill()
                process.join()
            process.close()

    @contextmanager
    def _handle_signals(self) -> Iterator[socket.socket]:
        """Note signals that stop the server; yield a socket that is readable when one arrives."""
        wakeups, wakeups_end = socket.socketpair()
        wakeups.setblocking(False)
        wakeups_end.setblocking(False)
        for number in _STOP_SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._request_stop)
        # A signal that another thread receives does not interrupt the main thread's wait.
        previous = signal.set_wakeup_fd(wakeups_end.fileno(), warn_on_full_buffer=False)
        try:
            yield wakeups
        finally:
            signal.set_wakeup_fd(previous)
            for number in _STOP_SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            wakeups.close()
            wakeups_end.close()

    def _request_stop(self, *_: object) -> None:
        self._is_stopping = True

    def _run_worker(self, index: int, ready: Connection) -> NoReturn:
        """Run the worker function, in the forked process."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        lifeline, lifeline_end = self._lifeline
        os.close(lifeline_end)
        threading.Thread(target=_stop_with_parent, args=(lifeline,), daemon=True).start()
        sockets = self._listeners.keep_only(index)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
        try:
            self._worker(sockets, lambda: _send_ready(ready))
        except CounterError as error:
            _log.error("%s", error)
        except Exception:
            _log.exception("the worker failed")
        else:
            sys.exit(0)
        sys.exit(1)


@contextmanager
def _blocked_signals() -> Iterator[None]:
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _send_ready(ready: Connection) -> None:
    with suppress(OSError):  # the parent was killed
        ready.send_bytes(b"1")
        ready.close()


def _reason(process: ForkProcess) -> str:
    code = process.exitcode or 0
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _stop_with_parent(lifeline: int) -> None:
    # A parent that was killed cannot signal its workers; without this they would keep running. All
    # workers notice it at once, because only the parent holds the other end of the pipe.
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    # A worker that is blocked does not react to the signal.
    time.sleep(SHUTDOWN_TIMEOUT)
    os._exit(1)
