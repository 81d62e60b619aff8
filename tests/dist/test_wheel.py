"""The contents of an installed wheel, compared with the checkout that it was built from."""

import importlib.metadata
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "flask_redis_counter"
SHIPPED = sorted(
    str(path.relative_to(SOURCE))
    for path in SOURCE.rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
)


def test_installed_package_is_tested():
    """The package is imported from the wheel, not from the checkout, which has every file."""
    assert not Path(str(files("flask_redis_counter"))).samefile(SOURCE)


@pytest.mark.parametrize("name", SHIPPED)
def test_wheel_has_file(name):
    """The wheel has each file, including Lua scripts, templates, styles and py.typed."""
    assert files("flask_redis_counter").joinpath(name).read_bytes() == (SOURCE / name).read_bytes()


def test_wheel_has_nothing_else():
    """The wheel has no tests, no tools and no other top-level folders."""
    listed = importlib.metadata.files("flask-redis-counter") or []
    tops = {path.parts[0] for path in listed if path.suffix != ".pyc" and path.parts[0] != ".."}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"flask_redis_counter"}


def test_entry_points_run():
    """The command and the module print the version."""
    version = importlib.metadata.version("flask-redis-counter")
    for command in (
        [str(Path(sys.executable).with_name("flask-redis-counter"))],
        [sys.executable, "-m", "flask_redis_counter"],
    ):
        ended = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert version in ended.stdout
