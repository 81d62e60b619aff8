"""Atomic file writes."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[str]]:
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
