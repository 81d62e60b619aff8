"""The package as a whole."""

import subprocess
import sys
from importlib.metadata import requires, version

import pytest
from click.testing import CliRunner

import flask_redis_counter
from flask_redis_counter.cli.main import main


def test_the_public_names():
    """`__all__` is what the root exports, sorted, and each is there."""
    names = flask_redis_counter.__all__
    assert names == sorted(names) == dir(flask_redis_counter)
    for name in names:
        home = getattr(flask_redis_counter, name).__module__
        assert home == f"flask_redis_counter.{flask_redis_counter._HOMES[name]}"
    assert flask_redis_counter._HOMES.keys() == set(names)
    with pytest.raises(AttributeError, match="no attribute 'Counter'"):
        flask_redis_counter.Counter  # noqa: B018


def test_every_error_is_public():
    """Each class of the tree is exported, documented and a CounterError."""
    errors = [
        thing
        for thing in vars(flask_redis_counter.errors).values()
        if isinstance(thing, type) and issubclass(thing, Exception)
    ]
    assert len(errors) == 22
    for error in errors:
        assert issubclass(error, flask_redis_counter.CounterError)
        assert error.__doc__
        assert error.__name__ in flask_redis_counter.__all__
        assert error.__name__ in flask_redis_counter.errors.__doc__


def test_the_core_needs_flask_and_redis_alone():
    """Everything else is an extra."""
    core = [need for need in requires("flask-redis-counter") if "extra ==" not in need]
    assert sorted(need.partition(">")[0] for need in core) == ["flask", "redis"]
    assert version("flask-redis-counter")


def test_the_plugin_does_not_import_the_counter():
    """Whoever tests something else with it has no use for that."""
    code = "import flask_redis_counter.testing.plugin, sys; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"flask", "flask_redis_counter.counter"}.isdisjoint(ended.stdout.split())


def test_the_commands_at_a_glance():
    """In a terminal of the usual width --help cuts off what no command does."""
    shown = CliRunner().invoke(main, ["--help"], terminal_width=80)
    told = shown.output.partition("Commands:\n")[2].splitlines()
    assert len(told) == len(main.commands)
    assert [line for line in told if line.endswith("...")] == []
