"""The package as a whole."""

import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from click.testing import CliRunner

import flask_redis_counter
from flask_redis_counter.cli.main import main

#: The names of the root, spelled out: a change here is a change of the public API.
ROOT_NAMES = {
    "AsyncRedisCounter",
    "ConfigurationError",
    "CounterError",
    "FlaskRedisCounter",
    "Hit",
    "HitSpooledError",
    "Journal",
    "Limits",
    "Outcome",
    "OutcomeUnknownError",
    "RateLimit",
    "RedisCounter",
    "SeriesPoint",
    "Spool",
    "StoreError",
    "__version__",
    "create_app",
}


def test_root_exports_its_public_names():
    """`__all__` and `dir` list them, sorted, and each has the module that the mapping names."""
    names = flask_redis_counter.__all__
    assert set(names) == ROOT_NAMES
    assert names == sorted(names) == dir(flask_redis_counter)
    for name, module in flask_redis_counter._MODULES.items():
        assert getattr(flask_redis_counter, name).__module__ == f"flask_redis_counter.{module}"
    with pytest.raises(AttributeError, match="no attribute 'Counter'"):
        flask_redis_counter.Counter  # noqa: B018


def test_root_imports_for_type_checkers_match_the_mapping():
    """What a type checker sees of the root is what a program gets."""
    source = Path(flask_redis_counter.__file__).read_text("utf-8")
    seen = re.findall(r"^    from \.([\w.]+) import (\w+) as \2$", source, re.M)
    assert {name: module for module, name in seen} == flask_redis_counter._MODULES


def test_version_is_that_of_the_installed_package():
    """The metadata of the package, setup.cfg, is the one source of the version."""
    assert flask_redis_counter.__version__ == version("flask-redis-counter")


@pytest.mark.parametrize("module", ["errors", "transfer", "stats", "testing"])
def test_submodule_exports_exist(module):
    """Each name in the `__all__` of a public module is there, and the list is sorted."""
    public = import_module(f"flask_redis_counter.{module}")
    assert public.__all__ == sorted(public.__all__)
    assert all(hasattr(public, name) for name in public.__all__)


def test_typing_example_uses_each_public_name():
    """tests/typing/use.py, which mypy checks, imports and uses each name but those for tests."""
    text = (Path(__file__).parents[1] / "typing" / "use.py").read_text("utf-8")
    for module in ("", ".errors", ".transfer", ".stats"):
        for name in import_module(f"flask_redis_counter{module}").__all__:
            assert len(re.findall(rf"\b{name}\b", text)) >= 2, name


def test_every_error_is_public():
    """Each class of the tree is exported, documented, drawn in the tree and a CounterError."""
    errors = [
        thing
        for thing in vars(flask_redis_counter.errors).values()
        if isinstance(thing, type) and issubclass(thing, Exception)
    ]
    assert len(errors) == 22
    for error in errors:
        assert issubclass(error, flask_redis_counter.CounterError)
        assert error.__doc__
        assert error.__name__ in flask_redis_counter.errors.__all__
        assert error.__name__ in flask_redis_counter.errors.__doc__


def test_the_core_needs_flask_and_redis_alone():
    """Everything else is an extra."""
    core = [need for need in requires("flask-redis-counter") if "extra ==" not in need]
    assert sorted(need.partition(">")[0] for need in core) == ["flask", "redis"]
    assert version("flask-redis-counter")


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import flask_redis_counter.testing.plugin", {"flask", "flask_redis_counter.counter"}),
        ("from flask_redis_counter import RedisCounter", {"flask", "flask_redis_counter.config"}),
        ("import flask_redis_counter.errors", {"flask", "redis", "flask_redis_counter.counter"}),
        ("import flask_redis_counter.stats", {"flask", "flask_redis_counter.counter"}),
        ("import flask_redis_counter.transfer", {"flask", "flask_redis_counter.counter"}),
        ("import flask_redis_counter.extension", {"flask_redis_counter.doctor"}),
        (
            "from flask_redis_counter.cli.main import main; main.get_command(None, 'serve')",
            {"flask_redis_counter.doctor", "flask_redis_counter.transfer"},
        ),
    ],
)
def test_imports_load_only_what_they_need(statement, absent):
    """A program that uses one part does not import the others, nor Flask."""
    code = f"{statement}; import sys; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert absent.isdisjoint(ended.stdout.split())


def test_the_commands_at_a_glance():
    """In a terminal of the usual width --help cuts off what no command does."""
    shown = CliRunner().invoke(main, ["--help"], terminal_width=80)
    told = shown.output.partition("Commands:\n")[2].splitlines()
    assert len(told) == len(main.list_commands(None))
    assert [line for line in told if line.endswith("...")] == []
