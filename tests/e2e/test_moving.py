"""Export and import through containers, and repair of a damaged append-only file."""

import subprocess

import pytest
import requests

from flask_redis_counter.testing import StackError

from .conftest import ADMIN_KEY
from .support import read_value

pytestmark = pytest.mark.compose

#: The command in docs/operating.md; Valkey's tool has its own name.
REPAIR = "{}-check-aof --fix appendonlydir/appendonly.aof.1.incr.aof"
DAMAGE = """cd appendonlydir && file=appendonly.aof.1.incr.aof
(head -c 3000 $file; echo damage; tail -c +3001 $file) >damaged && mv damaged $file"""


def run_piped(stack, *command, input_=""):
    """Run a Compose command with standard input, and return its standard output."""
    done = subprocess.run(
        [*stack.command, *command], input=input_, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_export_and_import_through_exec(stack):
    """`exec -T` pipes an export and an import unchanged; files inside cannot be written."""
    url = f"{stack.url()}/counters/moved"
    for _ in range(3):
        assert requests.post(f"{url}/hits", timeout=5).status_code == 200
    command = ("exec", "-T", "web", "flask-redis-counter")
    exported = run_piped(stack, *command, "export")
    admin = {"Authorization": f"Bearer {ADMIN_KEY}"}
    assert requests.delete(url, headers=admin, timeout=5).status_code == 200
    run_piped(stack, *command, "import", "-", "--source=moved", input_=exported)
    assert read_value(stack, "moved") == 3
    with pytest.raises(StackError, match="Read-only file system"):
        stack.compose(*command, "export", "counters.ndjson")


def test_damaged_file_is_repaired_with_command_of_docs(new_stack, pytestconfig):
    """The store reports the damage; the repaired file has the hits before it."""
    with new_stack() as stack:
        for number in range(20):
            counted = requests.get(f"{stack.url()}/count", timeout=5).json()
            assert counted["value"] == number + 1
        stack.stop("web")  # its journal would send the lost hits again
        stack.stop("redis")
        once = ("run", "--rm", "-T", "--no-deps", "redis")
        run_piped(stack, *once, "sh", "-c", DAMAGE)
        with pytest.raises(StackError, match="Bad file format reading the append only file"):
            stack.compose(*once)
        run_piped(
            stack, *once, *REPAIR.format(pytestconfig.getoption("--store")).split(), input_="y\n"
        )
        stack.start("redis")
        stack.start("web")
        stack.wait_ready()
        kept = read_value(stack)
        assert 1 <= kept < 20
        assert requests.get(f"{stack.url()}/count", timeout=5).json()["value"] == kept + 1
