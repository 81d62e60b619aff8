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
    """Write a temporary file next to ``path``, and rename it once it is complete and synced.

    If the block fails, the temporary file is removed. A device or a pipe is written directly.

    :raises OSError: writing failed; an existing file is unchanged.
    """
    path = path.resolve()
    exists = path.exists()
    if exists and not path.is_file():
        with path.open("w", encoding="utf-8", newline="\n") as stream:
            yield stream
        return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:  # before the file is created: a signal may arrive right after that
        with temporary.open("x", encoding="utf-8", newline="\n") as stream:
            if exists:
                temporary.chmod(path.stat().st_mode & 0o777)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
