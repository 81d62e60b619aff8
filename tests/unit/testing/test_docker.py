"""The proxy's script is readable for the users of containers."""

import pytest

from flask_redis_counter.testing.stacks import proxy as proxy_module
from flask_redis_counter.testing.stacks.docker import proxy_script, run_docker


@pytest.fixture
def script(monkeypatch, tmp_path):
    """An installed script, and an empty cache folder for its copy."""
    script = tmp_path / "proxy.py"
    script.write_text("print('a proxy')\n")
    monkeypatch.setattr(proxy_module, "__file__", str(script))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return script


@pytest.fixture(autouse=True)
def _clear_cache():
    """Clear the cache of proxy_script before and after each test."""
    proxy_script.cache_clear()
    yield
    proxy_script.cache_clear()


def test_proxy_script_world_readable_is_not_copied(script):
    """The installed script is mounted."""
    script.chmod(0o644)
    assert proxy_script() == str(script)


def test_proxy_script_private_is_copied_once(script, tmp_path):
    """All processes of the user mount one world-readable copy."""
    script.chmod(0o600)
    first = proxy_script()
    proxy_script.cache_clear()
    assert proxy_script() == first
    (copy,) = (tmp_path / "cache" / "flask-redis-counter").iterdir()
    assert str(copy) == first
    assert copy.stat().st_mode & 0o777 == 0o644
    assert copy.read_text() == script.read_text()


def test_proxy_script_private_without_cache_is_not_copied(script, tmp_path):
    """The run continues; only a container that cannot read the script fails."""
    script.chmod(0o600)
    (tmp_path / "cache").write_text("no folder")
    assert proxy_script() == str(script)
    assert run_docker("true") == ""
