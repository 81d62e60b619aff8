"""Exit codes and terminal output of commands: error lines, progress bar, checked stdout."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, NoReturn

import click

from .errors import ConfigurationError, CounterError

#: Exit codes besides 0: failed; wrong options or settings; Ctrl-C; closed output pipe.
FAILED, USAGE_ERROR, INTERRUPTED, BROKEN_PIPE = 1, 2, 128 + signal.SIGINT, 128 + signal.SIGPIPE

#: Widest and narrowest progress bar, and the width of the text next to it, in columns.
MAX_BAR, MIN_BAR, BAR_MARGIN = 36, 6, 34


@contextmanager
def map_errors_to_exit_codes(
    hint: Callable[[CounterError | OSError], str],
    usage_errors: tuple[type[CounterError], ...] = (ConfigurationError,),
) -> Iterator[None]:
    """End the command with one line on standard error and an exit code if the block fails.

    Ctrl-C ends it silently. :class:`BrokenPipeError` is left to click, which ends silently, too.

    :param hint: returns text to append to an error's line.
    :param usage_errors: errors in options or settings; their exit code is 2 and not 1.
    """
    try:
        yield
    except CounterError as error:
        code = USAGE_ERROR if isinstance(error, usage_errors) else FAILED
        _exit(f"Error: {error}".rstrip(".") + hint(error), code)
    except BrokenPipeError:
        raise
    except OSError as error:  # e.g. a full disk, also of a redirected output
        _exit(f"Error: {error.strerror or error}{hint(error)}", FAILED)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


@contextmanager
def exit_on_error(describe_progress: Callable[[], str]) -> Iterator[None]:
    """End a long command with one line and an exit code, even after SIGINT and SIGTERM.

    :param describe_progress: returns text for the line that says how much was done.
    """

    def hint(error: CounterError | OSError) -> str:
        return "" if isinstance(error, ConfigurationError) else f"; {describe_progress()}"

    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with map_errors_to_exit_codes(hint):
            try:
                with redeliver_signals():
                    yield
            except BrokenPipeError:
                _exit(f"Stopped: standard output was closed; {describe_progress()}", BROKEN_PIPE)
            except KeyboardInterrupt:
                _exit(f"Stopped: {describe_progress()}", INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def redeliver_signals() -> Iterator[None]:
    """Send a signal again if a destructor swallowed its exception.

    Python prints exceptions that are raised in a destructor, and goes on.
    """
    previous_hook = sys.unraisablehook
    timers: list[threading.Timer] = []

    def unraisable(unraised: sys.UnraisableHookArgs) -> None:
        signals = {KeyboardInterrupt: signal.SIGINT, SystemExit: signal.SIGTERM}
        number = signals.get(unraised.exc_type)
        if number is None:
            previous_hook(unraised)
            return
        delay = 0.01
        while True:
            try:
                timers.append(threading.Timer(delay, os.kill, (os.getpid(), number)))
                timers[-1].start()
                return
            except (KeyboardInterrupt, SystemExit):
                # On a busy machine the signal can arrive before start() returns. Its exception
                # would be lost in this hook, too: try again with a longer delay.
                delay *= 4

    sys.unraisablehook = unraisable
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        sys.unraisablehook = previous_hook


def _exit(line: str, code: int) -> NoReturn:
    click.echo(line, err=True)
    raise SystemExit(code)


@contextmanager
def progress_bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Draw a progress bar on standard error, if that is a terminal.

    :returns: a function that advances the bar by a number of steps.
    """
    width = min(MAX_BAR, _stderr_columns() - BAR_MARGIN)
    if width < MIN_BAR:
        yield lambda _: None
        return
    # Drawing takes longer than a step of the work: draw at most 200 times.
    step = max(1, total // 200)
    pending = 0
    with click.progressbar(length=total, label=label, width=width, file=sys.stderr) as bar:

        def advance(steps: int) -> None:
            nonlocal pending
            pending += steps
            if pending >= step:
                bar.update(pending)
                pending = 0

        yield advance
        bar.update(total - bar.pos)


def can_redraw(stream: IO[str]) -> bool:
    """Return whether the stream is a terminal whose lines can be overwritten."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _stderr_columns() -> int:
    """Return the width of the terminal on standard error, 0 if its lines cannot be overwritten."""
    if not can_redraw(sys.stderr):
        return 0
    return os.get_terminal_size(sys.stderr.fileno()).columns or 80


@contextmanager
def checked_stdout() -> Iterator[IO[str]]:
    """Open standard output for writing, and report write errors at the end of the block.

    This is not :data:`sys.stdout`, which retries a failed write at interpreter exit, with a
    traceback and another exit code.

    :raises OSError: a write failed, or standard output is closed.
    """
    if sys.stdout is None:  # closed by the caller; descriptor 1 may be the store's connection
        raise OSError(errno.EBADF, "standard output is closed")
    stream = open(1, "w", encoding="utf-8", newline="\n", closefd=False)  # noqa: SIM115
    try:
        yield stream
        stream.flush()
    finally:
        with suppress(OSError):
            stream.close()


def print_line(line: str) -> None:
    """Write a line to standard output.

    :raises OSError: the write failed.
    """
    with checked_stdout() as stream:
        stream.write(line + "\n")
