"""The development stack, on a copy of the source made under umask 077."""

import shutil
import subprocess

import pytest
import requests

from flask_redis_counter.testing import ComposeStack, StackError, wait_until
from flask_redis_counter.testing.stacks.docker import run_docker
from flask_redis_counter.testing.stacks.project import make_project_name

from .conftest import ROOT, WEB

FILES = ["docker-compose.yml", "docker-compose.test.yml", "docker-compose.dev.yml"]
BUILT_FROM = [".dockerignore", "Dockerfile", "LICENSE", "README.md", "pyproject.toml"]
BUILT_FROM += ["requirements.txt", "setup.cfg"]


@pytest.mark.compose
def test_edit_is_served_without_rebuild(tmp_path):
    """Flask reloads changed source of the host; unreadable source is an error."""
    for name in FILES + BUILT_FROM:
        shutil.copy(ROOT / name, tmp_path)
    source = tmp_path / "flask_redis_counter"
    shutil.copytree(ROOT / "flask_redis_counter", source)
    for path in (source, *source.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)  # readable for the container's user
    files = [tmp_path / name for name in FILES]
    stack = ComposeStack(files, make_project_name("counter"), endpoint=WEB)
    stack.compose("build")
    print_path = "import flask_redis_counter; print(flask_redis_counter.__file__)"
    built = run_docker(
        "docker", "run", "--rm", "flask-redis-counter:dev", "python", "-c", print_path
    )
    assert built.strip() == "/src/flask_redis_counter/__init__.py"
    try:
        with pytest.raises(StackError, match=r"cannot read /src/.*: chmod -R go\+rX"):
            stack.compose("run", "--rm", "--no-deps", "web")
    finally:
        stack.down(volumes=True)
    subprocess.run(["chmod", "-R", "go+rX", source], check=True)
    with stack:
        assert requests.get(f"{stack.url()}/count", timeout=5).json()["value"] == 1
        health = source / "web" / "routes" / "health.py"
        health.write_text(health.read_text("utf-8").replace('"alive"', '"reloaded"'), "utf-8")
        wait_until(
            lambda: (
                requests.get(f"{stack.url()}/healthz", timeout=2).json()["status"] == "reloaded"
            ),
            what="the changed source",
        )
        assert requests.get(f"{stack.url()}/count", timeout=5).json()["value"] == 2
