"""Slot files: each a row of bytes that one live process maps into its memory, one after another.

A process holds an ``flock`` on its slot, which the system releases when the process ends, however
it ends. The next process takes over a slot that is free, with the numbers in it. So there are as
many files as there were processes at the same time, and their sum does not fall.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple


class Slot(NamedTuple):
    """A slot file of this process.

    :ivar path: where it is.
    :ivar inode: its inode number.
    :ivar memory: its bytes; the lock lasts as long as this mapping.
    """

    path: Path
    inode: int
    memory: mmap.mmap

    def is_lost(self) -> bool:
        """Return whether the file was removed, and with it what others can read."""
        try:
            return self.path.stat().st_ino != self.inode
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False  # not readable at the moment


class SlotFolder:
    """The slots of one service in a folder; other services may have theirs beside them.

    :param folder: where they are, made where it does not exist.
    :param service: what tells the service from others.
    :param size: bytes of a slot.
    """

    def __init__(self, folder: Path, service: str, size: int) -> None:
        self._folder = folder
        self._prefix = sha256(service.encode()).hexdigest()[:8]
        self._size = size

    def claim(self) -> Slot:
        """Return a slot that no live process has, with what is in it, or a new one of zeros.

        :raises OSError: the folder cannot be used, or its disk is full.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._paths():
            # One that another process has, or that cannot be opened, is left alone.
            with suppress(OSError):
                return self._mapped(path, os.O_RDWR)
        path = self._folder / f"{self._prefix}-{secrets.token_hex(4)}.meter"
        try:
            return self._mapped(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        except OSError:
            path.unlink(missing_ok=True)
            raise

    def rows(self) -> Iterator[bytes]:
        """Yield the bytes of each slot."""
        for path in self._paths():
            with suppress(OSError):  # removed meanwhile
                row = path.read_bytes()
                if len(row) == self._size:
                    yield row

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob(f"{self._prefix}-*.meter"))

    def _mapped(self, path: Path, flags: int) -> Slot:
        file = os.open(path, flags, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            facts = os.fstat(file)
            if facts.st_size != self._size:  # new, never finished, or another version's
                os.ftruncate(file, 0)
                # Written, because a hole that the disk has no room for kills who writes to it.
                if os.pwrite(file, bytes(self._size), 0) != self._size:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            # The mapping keeps a duplicate of the descriptor, and the lock with it.
            return Slot(path, facts.st_ino, mmap.mmap(file, self._size))
        finally:
            os.close(file)
