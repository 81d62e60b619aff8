"""How a long command ends."""

import subprocess
import sys

import pytest

DEAF = """
import signal, threading
from flask_redis_counter.console import exit_on_error

signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored

class Deaf:
    def __del__(self):
        signal.raise_signal(signal.{number})

with exit_on_error(lambda: "half of it is done"):
    Deaf()
    threading.Event().wait(30)
"""


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [("SIGINT", 130, "Stopped: half of it is done\n"), ("SIGTERM", 143, "")],
)
def test_a_signal_that_nobody_could_hear(number, code, line):
    """One that comes within a destructor ends the command as any other does."""
    command = [sys.executable, "-c", DEAF.format(number=number)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", line)


def test_other_errors_of_destructors_are_shown():
    """They are nobody's signal."""
    code = DEAF.format(number="SIGINT").replace("signal.raise_signal(signal.SIGINT)", "1 / 0")
    code = code.replace("threading.Event().wait(30)", "pass")
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert ended.returncode == 0
    assert "ZeroDivisionError" in ended.stderr
