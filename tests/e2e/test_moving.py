"""Counters in and out of the containers, and a store whose file is damaged."""

import subprocess

import pytest
import requests

from flask_redis_counter.testing import StackError

from .conftest import ADMIN_KEY
from .support import value

pytestmark = pytest.mark.compose

#: As in docs/operating.md; Valkey's has its own name.
REPAIR = "{}-check-aof --fix appendonlydir/appendonly.aof.1.incr.aof"
DAMAGE = """cd appendonlydir && file=appendonly.aof.1.incr.aof
(head -c 3000 $file; echo damage; tail -c +3001 $file) >damaged && mv damaged $file"""


def piped(stack, *command, given=""):
    """Run a command of Compose with an input, and return what it printed on standard output."""
    done = subprocess.run(
        [*stack.command, *command], input=given, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_counters_leave_and_enter_through_exec(stack):
    """`exec -T` passes an export and an import on unchanged; a file inside would be lost."""
    url = f"{stack.url()}/counters/moved"
    for _ in range(3):
        assert requests.post(f"{url}/hits", timeout=5).status_code == 200
    command = ("exec", "-T", "web", "flask-redis-counter")
    exported = piped(stack, *command, "export")
    admin = {"Authorization": f"Bearer {ADMIN_KEY}"}
    assert requests.delete(url, headers=admin, timeout=5).status_code == 200
    piped(stack, *command, "import", "-", "--source=moved", given=exported)
    assert value(stack, "moved") == 3
    with pytest.raises(StackError, match="Read-only file system"):
        stack.compose(*command, "export", "counters.ndjson")


def test_a_damaged_file_is_repaired_with_the_command_of_the_docs(new_stack, pytestconfig):
    """The store says that its file is damaged; repaired, it has what was before the damage."""
    with new_stack() as stack:
        for number in range(20):
            counted = requests.get(f"{stack.url()}/count", timeout=5).json()
            assert counted["value"] == number + 1
        stack.stop("redis")
        once = ("run", "--rm", "-T", "--no-deps", "redis")
        piped(stack, *once, "sh", "-c", DAMAGE)
        with pytest.raises(StackError, match="Bad file format reading the append only file"):
            stack.compose(*once)
        piped(stack, *once, *REPAIR.format(pytestconfig.getoption("--store")).split(), given="y\n")
        stack.start("redis")
        stack.wait_ready()
        kept = value(stack)
        assert 1 <= kept < 20
        assert requests.get(f"{stack.url()}/count", timeout=5).json()["value"] == kept + 1
