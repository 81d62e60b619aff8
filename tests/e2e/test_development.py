"""The development stack, from its real files, on a copy of the source."""

import shutil

import pytest
import requests

from flask_redis_counter.testing import ComposeStack, wait_until
from flask_redis_counter.testing.compose import unique_project

from .conftest import ROOT, WEB

FILES = ["docker-compose.yml", "docker-compose.test.yml", "docker-compose.dev.yml"]
BUILT_FROM = [".dockerignore", "Dockerfile", "LICENSE", "README.md", "pyproject.toml"]
BUILT_FROM += ["requirements.txt", "setup.cfg"]


@pytest.mark.compose
def test_an_edit_is_served_without_a_rebuild(tmp_path):
    """The container sees the source on the host, and Flask reloads it."""
    for name in FILES + BUILT_FROM:
        shutil.copy(ROOT / name, tmp_path)
    source = tmp_path / "flask_redis_counter"
    shutil.copytree(ROOT / "flask_redis_counter", source)
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)  # the container's user reads it
    files = [tmp_path / name for name in FILES]
    stack = ComposeStack(files, unique_project("counter"), entry=WEB)
    stack.compose("build")
    with stack:
        assert requests.get(f"{stack.url()}/count", timeout=5).json()["value"] == 1
        health = source / "web" / "health.py"
        health.write_text(health.read_text("utf-8").replace('"alive"', '"reloaded"'), "utf-8")
        wait_until(
            lambda: (
                requests.get(f"{stack.url()}/healthz", timeout=2).json()["status"] == "reloaded"
            ),
            what="the changed source",
        )
        assert requests.get(f"{stack.url()}/count", timeout=5).json()["value"] == 2
