"""Warnings that are logged once in a process, however often their cause is met."""

from __future__ import annotations

import logging

#: How many different warnings are remembered, and so logged at all.
MAX_NOTICES = 100

_log = logging.getLogger(__name__)
_logged: set[str] = set()


def warn_once(text: str) -> None:
    """Log a warning, unless this process has logged the same one."""
    if text not in _logged and len(_logged) < MAX_NOTICES:
        _logged.add(text)
        _log.warning("%s", text)


def warn_skipped(skipped: str) -> None:
    """Log what a script could not record beside a value that is right."""
    doctors = "flask counter doctor, or flask-redis-counter doctor for the service"
    warn_once(f"counted, but not recorded: {skipped}; {doctors}, says what to do")
