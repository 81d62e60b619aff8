"""What an installed wheel must hold, compared with the checkout that it was built from."""

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


def test_it_is_the_installed_package_that_is_tested():
    """Not the folder of the checkout, which has every file anyway."""
    assert not Path(str(files("flask_redis_counter"))).samefile(SOURCE)


@pytest.mark.parametrize("name", SHIPPED)
def test_each_file_is_there(name):
    """Also what is no Python: scripts, templates, styles, the marker for types."""
    assert files("flask_redis_counter").joinpath(name).read_bytes() == (SOURCE / name).read_bytes()


def test_nothing_else_is_there():
    """No tests, no tools, no folders at the top level."""
    listed = importlib.metadata.files("flask-redis-counter") or []
    tops = {path.parts[0] for path in listed if path.suffix != ".pyc" and path.parts[0] != ".."}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"flask_redis_counter"}


def test_the_command_runs():
    """The entry point, and the module of the same name, say the version."""
    version = importlib.metadata.version("flask-redis-counter")
    for command in (
        [str(Path(sys.executable).with_name("flask-redis-counter"))],
        [sys.executable, "-m", "flask_redis_counter"],
    ):
        ended = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert version in ended.stdout
