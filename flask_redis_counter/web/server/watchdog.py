"""Reports an event loop that is blocked, and ends its process if that lasts."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback

from ..http.connection_table import ConnectionTable

#: Seconds without a check of the connections after which the event loop is reported.
BLOCKED_AFTER = 5.0

#: Number of looks at the event loop within :data:`BLOCKED_AFTER`.
LOOKS = 5

#: Looks in a row at the same blocked event loop after which the process is killed: half a minute.
#: Looks and not seconds, because a machine that was suspended has not blocked the loop.
MAX_LOOKS = 30

_log = logging.getLogger(__name__)


class Watchdog(threading.Thread):
    """Thread that logs where the event loop is blocked, once for each time.

    A process whose loop stays blocked is killed, so that its parent replaces it: its clients get
    no answer, and the connections that it has not accepted wait for it.

    :param table: the connections of the loop, which are checked once a second.
    """

    def __init__(self, table: ConnectionTable) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._table = table
        self._loop_thread = threading.get_ident()

    def run(self) -> None:
        """Check the loop until the process ends."""
        last_seen, looks = 0.0, 0
        while True:
            time.sleep(BLOCKED_AFTER / LOOKS)
            checked_at = self._table.checked_at
            silence = time.monotonic() - checked_at
            if silence <= BLOCKED_AFTER:
                looks = 0
                continue
            looks = looks + 1 if checked_at == last_seen else 1
            last_seen = checked_at
            if looks == 1:
                frame = sys._current_frames().get(self._loop_thread)
                stack = "".join(traceback.format_stack(frame)) if frame else ""
                _log.error("the event loop has been blocked for %.0f s by:\n%s", silence, stack)
            if looks >= MAX_LOOKS:
                _log.critical("the event loop is still blocked: this worker ends")
                # No clean-up: it might wait for the loop.
                os.kill(os.getpid(), signal.SIGKILL)
