"""The command group of the service."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_main_whose_output_cannot_be_written(option):
    """The group's own options end with one line and exit code 1, as its commands do."""
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "flask_redis_counter", option]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=20)
    assert (result.returncode, result.stderr) == (1, "Error: No space left on device\n")
