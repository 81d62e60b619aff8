"""Exit codes of long commands."""

import subprocess
import sys

import pytest

SCRIPT = """
import signal, threading
from flask_redis_counter.console import exit_on_error

signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored

class Destructor:
    def __del__(self):
        signal.raise_signal(signal.{number})

with exit_on_error(lambda: "half of it is done"):
    Destructor()
    threading.Event().wait(30)
"""


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [("SIGINT", 130, "Stopped: half of it is done\n"), ("SIGTERM", 143, "")],
)
def test_exit_on_error_redelivers_a_signal_that_a_destructor_swallowed(number, code, line):
    """The command ends as after any other signal."""
    command = [sys.executable, "-c", SCRIPT.format(number=number)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (result.returncode, result.stdout, result.stderr) == (code, "", line)


SLOW_TIMER = """
import threading

class SlowTimer(threading.Timer):
    is_first = True

    def start(self):
        super().start()
        if SlowTimer.is_first:
            SlowTimer.is_first = False
            self.join()  # until the signal was sent

threading.Timer = SlowTimer
"""


def test_exit_on_error_redelivers_a_signal_that_interrupts_the_redelivery():
    """On a busy machine the timer may end before its `start` returns."""
    command = [sys.executable, "-c", SLOW_TIMER + SCRIPT.format(number="SIGINT")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (result.returncode, result.stderr) == (130, "Stopped: half of it is done\n")


def test_exit_on_error_leaves_other_errors_of_destructors_alone():
    """Python prints them as usual, and the command goes on."""
    code = SCRIPT.format(number="SIGINT").replace("signal.raise_signal(signal.SIGINT)", "1 / 0")
    code = code.replace("threading.Event().wait(30)", "pass")
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20
    )
    assert result.returncode == 0
    assert "ZeroDivisionError" in result.stderr
