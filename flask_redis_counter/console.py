"""How a long command speaks to a terminal, or to no terminal, and how it ends."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO

import click

from .errors import ConfigurationError, CounterError

#: Exit codes beside 0: it failed; options or settings are wrong; Ctrl-C; nobody reads its output.
FAILED, USAGE_ERROR, INTERRUPTED, BROKEN_PIPE = 1, 2, 128 + signal.SIGINT, 128 + signal.SIGPIPE

#: The widest bar, the narrowest, and what stands beside it.
MAX_BAR, MIN_BAR, BAR_MARGIN = 36, 6, 34


@contextmanager
def exit_on_error(so_far: Callable[[], str]) -> Iterator[None]:
    """End the command with one line and an exit code, whatever ends it.

    :param so_far: says what was done.
    """
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with redeliver_signals():
            yield
    except ConfigurationError as error:
        _exit(f"Error: {error}", USAGE_ERROR)
    except CounterError as error:
        _exit(f"Error: {error}; {so_far()}", FAILED)
    except BrokenPipeError:
        _exit(f"Stopped: nobody reads the output any more; {so_far()}", BROKEN_PIPE)
    except OSError as error:
        _exit(f"Error: {error.strerror or error}; {so_far()}", FAILED)
    except KeyboardInterrupt:
        _exit(f"Stopped: {so_far()}", INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def redeliver_signals() -> Iterator[None]:
    """Let a signal come again that came within a destructor, which lets no exception out."""
    hook = sys.unraisablehook
    timers: list[threading.Timer] = []

    def unraisable(it: sys.UnraisableHookArgs) -> None:
        number = {KeyboardInterrupt: signal.SIGINT, SystemExit: signal.SIGTERM}.get(it.exc_type)
        if number is None:
            hook(it)
            return
        timers.append(threading.Timer(0.01, os.kill, (os.getpid(), number)))
        timers[-1].start()

    sys.unraisablehook = unraisable
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        sys.unraisablehook = hook


def _exit(line: str, code: int) -> None:
    click.echo(line, err=True)
    raise SystemExit(code)


@contextmanager
def progress_bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far it is, where somebody looks on: on standard error, if that is a terminal.

    :returns: what is told how much more is done.
    """
    width = min(MAX_BAR, _columns() - BAR_MARGIN)
    if width < MIN_BAR:
        yield lambda _: None
        return
    # Drawn anew only when there is something to see: that takes longer than what it tells of.
    step = max(1, total // 200)
    waits = 0
    with click.progressbar(length=total, label=label, width=width, file=sys.stderr) as shown:

        def advance(more: int) -> None:
            nonlocal waits
            waits += more
            if waits >= step:
                shown.update(waits)
                waits = 0

        yield advance
        shown.update(total - shown.pos)


def _columns() -> int:
    """Return how wide the terminal is, 0 where there is none that can draw over what it drew."""
    if not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return 0
    return os.get_terminal_size(sys.stderr.fileno()).columns or 80


@contextmanager
def checked_stdout() -> Iterator[IO[str]]:
    """Write to standard output, and be sure at the end that it was taken.

    Not :data:`sys.stdout`: what that could not write it tries to write again when the process
    ends, with a traceback and an exit code of its own.

    :raises OSError: not all was taken.
    """
    if sys.stdout is None:  # it was closed from the start, and 1 may be the store's connection
        raise OSError(errno.EBADF, "standard output is closed")
    stream = open(1, "w", encoding="utf-8", newline="\n", closefd=False)  # noqa: SIM115
    try:
        yield stream
        stream.flush()
    finally:
        with suppress(OSError):
            stream.close()


def print_line(line: str) -> None:
    """Write a line to standard output, and raise :class:`OSError` where that does not take it."""
    with checked_stdout() as stream:
        stream.write(line + "\n")
