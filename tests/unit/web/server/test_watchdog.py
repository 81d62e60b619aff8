"""The report of an event loop that is blocked."""

import logging
import signal
import subprocess
import sys
import textwrap
import threading
import time
from types import SimpleNamespace

from flask_redis_counter.testing import wait_until
from flask_redis_counter.web.server import watchdog
from flask_redis_counter.web.server.watchdog import Watchdog


def test_worker_ends_if_its_loop_stays_blocked():
    """Half a minute of looks at a blocked loop, and the process is killed; not before."""
    program = """
        import time
        from types import SimpleNamespace
        from flask_redis_counter.web.server import watchdog

        watchdog.BLOCKED_AFTER = 0.25
        table = SimpleNamespace(checked_at=time.monotonic())
        watchdog.Watchdog(table).start()
        began = time.monotonic()
        while time.monotonic() - began < 2:  # longer than 30 looks: it is not blocked yet
            table.checked_at = time.monotonic() + 0.1  # the same for several looks
            time.sleep(0.2)
        print("blocked", flush=True)
        time.sleep(60)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=50
    )
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout == "blocked\n"
    assert "still blocked: this worker ends" in ended.stderr


def test_blocked_loop_is_reported_once(monkeypatch, caplog):
    """The log says once where the loop is blocked, and again if it is blocked again."""
    monkeypatch.setattr(watchdog, "BLOCKED_AFTER", 0.1)
    table = SimpleNamespace(checked_at=time.monotonic())
    released = threading.Event()

    def hold_up_the_loop():
        dog = Watchdog(table)  # watches the thread that creates it
        dog.start()
        released.wait(30)

    def reports():
        return [one.getMessage() for one in caplog.records if "blocked" in one.getMessage()]

    with caplog.at_level(logging.ERROR, watchdog.__name__):
        loop = threading.Thread(target=hold_up_the_loop)
        loop.start()
        wait_until(reports, what="a report")
        assert "hold_up_the_loop" in reports()[0]
        first = table.checked_at
        wait_until(lambda: time.monotonic() - first > 0.5, what="more time")
        assert len(reports()) == 1
        table.checked_at = time.monotonic()
        wait_until(lambda: len(reports()) == 2, what="a second report")
        # The thread lives as long as the process: it must not report after the test.
        table.checked_at = float("inf")
    released.set()
    loop.join(10)
