"""Slot files of metrics, each of which is memory-mapped by at most one live process at a time.

A process holds an ``flock`` on its slot, which the system releases when the process ends. A new
process takes a free slot and continues its numbers. So there are only as many files as processes
ran at the same time, and the sum over all files never falls.
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

    :ivar path: path of the file.
    :ivar inode: inode number of the file.
    :ivar memory: mapping of the file; the lock lasts as long as the mapping.
    """

    path: Path
    inode: int
    memory: mmap.mmap

    def is_lost(self) -> bool:
        """Return whether the file was removed, so that other processes cannot read it."""
        try:
            return self.path.stat().st_ino != self.inode
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False  # temporarily not readable


class SlotFolder:
    """The slots of one service in a folder, which several services can share.

    :param folder: path of the folder, created if it does not exist.
    :param service: identifies the service.
    :param size: size of a slot in bytes.
    """

    def __init__(self, folder: Path, service: str, size: int) -> None:
        self._folder = folder
        self._prefix = sha256(service.encode()).hexdigest()[:8]
        self._size = size

    def claim(self) -> Slot:
        """Return a slot that no live process uses, with the numbers in it, or a new one with zeros.

        :raises OSError: the folder cannot be used, or its disk is full.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._paths():
            # Skip slots that another process uses, or that cannot be opened.
            with suppress(OSError):
                return self._map(path, os.O_RDWR)
        path = self._folder / f"{self._prefix}-{secrets.token_hex(4)}.meter"
        # It gets its name once it is locked: another process that starts may claim it before.
        new = path.with_suffix(".new")
        try:
            slot = self._map(new, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            new.rename(path)
        except OSError:
            new.unlink(missing_ok=True)
            raise
        return slot._replace(path=path)

    def read_rows(self) -> Iterator[bytes]:
        """Yield the bytes of each slot."""
        for path in self._paths():
            with suppress(OSError):  # removed meanwhile
                row = path.read_bytes()
                if len(row) == self._size:
                    yield row

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob(f"{self._prefix}-*.meter"))

    def _map(self, path: Path, flags: int) -> Slot:
        file = os.open(path, flags, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            facts = os.fstat(file)
            if facts.st_size != self._size:  # new, incomplete, or of another version
                os.ftruncate(file, 0)
                # Write zeros: on a full disk, storing to a hole would kill the process (SIGBUS).
                if os.pwrite(file, bytes(self._size), 0) != self._size:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            # The mapping keeps a duplicate of the descriptor, and so the lock.
            return Slot(path, facts.st_ino, mmap.mmap(file, self._size))
        finally:
            os.close(file)
