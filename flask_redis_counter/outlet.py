"""Where text goes that must be whole: beside a file until it is, or to standard output."""

from __future__ import annotations

import errno
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def standard_output() -> Iterator[IO[str]]:
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


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """Write a file that takes its name when it is whole and on the disk; otherwise nothing is left.

    A device or a pipe is written to as it is.

    :raises OSError: it cannot be written; what had the name has it still.
    """
    path = path.resolve()
    there = path.exists()
    if there and not path.is_file():
        with path.open("w", encoding="utf-8", newline="\n") as stream:
            yield stream
        return
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:  # from before there is such a file, for a signal that comes while it is made
        with beside.open("x", encoding="utf-8", newline="\n") as stream:
            if there:
                beside.chmod(path.stat().st_mode & 0o777)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
