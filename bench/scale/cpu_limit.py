"""A limit of a process's CPU time, by a control group of Linux."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Self

#: Microseconds after which a process gets its share again.
PERIOD = 10_000

_ROOT = Path("/sys/fs/cgroup")


class CPULimit:
    """The share of a core that a process gets, as a context manager.

    :param pid: the process; all its threads share the limit.
    :raises OSError: control groups cannot be written here. They need root.
    """

    def __init__(self, pid: int) -> None:
        is_unified = (_ROOT / "cgroup.controllers").exists()
        parent = _ROOT if is_unified else _ROOT / "cpu"
        if is_unified:
            (parent / "cgroup.subtree_control").write_text("+cpu")
        self._is_unified = is_unified
        self._folder = parent / f"bench-{os.getpid()}-{secrets.token_hex(4)}"
        self._parent = parent
        self._pid = pid
        self._folder.mkdir()
        (self._folder / "cgroup.procs").write_text(str(pid))

    def set(self, share: float | None) -> None:
        """Change the limit.

        :param share: share of one core, from 0.1; None: no limit.
        """
        quota = None if share is None else round(PERIOD * share)
        if self._is_unified:
            text = f"{'max' if quota is None else quota} {PERIOD}"
            (self._folder / "cpu.max").write_text(text)
        else:
            (self._folder / "cpu.cfs_period_us").write_text(str(PERIOD))
            (self._folder / "cpu.cfs_quota_us").write_text(str(-1 if quota is None else quota))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        (self._parent / "cgroup.procs").write_text(str(self._pid))
        self._folder.rmdir()
