"""Reports an event loop that is blocked."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback

from ..http.connection_table import ConnectionTable

#: Seconds without a check of the connections after which the event loop is reported.
BLOCKED_AFTER = 5.0

_log = logging.getLogger(__name__)


class Watchdog(threading.Thread):
    """Thread that logs where the event loop is blocked, once for each time.

    :param table: the connections of the loop, which are checked once a second.
    """

    def __init__(self, table: ConnectionTable) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._table = table
        self._loop_thread = threading.get_ident()

    def run(self) -> None:
        """Check the loop until the process ends."""
        reported_at = 0.0
        while True:
            time.sleep(BLOCKED_AFTER / 5)
            checked_at = self._table.checked_at
            silence = time.monotonic() - checked_at
            if silence > BLOCKED_AFTER and reported_at != checked_at:
                reported_at = checked_at
                frame = sys._current_frames().get(self._loop_thread)
                stack = "".join(traceback.format_stack(frame)) if frame else ""
                _log.error("the event loop has been blocked for %.0f s by:\n%s", silence, stack)
