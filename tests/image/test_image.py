"""The image, built from the Dockerfile as it stands."""

import json
import secrets
import time
from pathlib import Path

import pytest
import requests

from flask_redis_counter.testing import StackError, wait_until
from flask_redis_counter.testing.compose import run

ROOT = Path(__file__).parents[2]
TAG = "flask-redis-counter:test"
BASE = "python:3.12-slim"
MEGABYTE = 1_000_000


@pytest.fixture(scope="session")
def image():
    """The production image."""
    run("docker", "build", "--quiet", "--tag", TAG, str(ROOT))
    return TAG


@pytest.fixture
def container(image):
    """A container of it, read-only and without any capability; no store is near."""
    name = f"counter-image-{secrets.token_hex(4)}"
    confined = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
    published = ["--publish=127.0.0.1::5000", "--env=REDIS_HOST=127.0.0.1"]
    run("docker", "run", "--detach", f"--name={name}", *confined, *published, image)
    yield name
    run("docker", "rm", "--force", "--volumes", name)


def inspected(what):
    """Return what Docker knows of an image or a container."""
    return json.loads(run("docker", "inspect", what))[0]


def wait_for_answer(container):
    """Wait until the container answers, and return its URL."""
    port = run("docker", "port", container, "5000").split()[0].rpartition(":")[2]
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: requests.get(f"{url}/healthz", timeout=2).ok, what="an answer")
    return url


def test_size(image):
    """What we add to the base image stays under 60 MB."""
    added = inspected(image)["Size"] - inspected(BASE)["Size"]
    print(f"added to {BASE}: {added / MEGABYTE:.1f} MB")  # noqa: T201
    assert 0 < added < 60 * MEGABYTE


def test_configuration(image):
    """No root, a health check, an exec-form command, the port, and the OCI labels."""
    config = inspected(image)["Config"]
    assert config["User"] == "10001"
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert config["Cmd"] == ["flask-redis-counter", "serve", "--host=0.0.0.0"]
    assert not config.get("Entrypoint")
    assert "5000/tcp" in config["ExposedPorts"]
    labels = config["Labels"]
    for label in ("title", "description", "licenses", "version"):
        assert labels[f"org.opencontainers.image.{label}"]


def test_no_build_tools(image):
    """The environment has no pip; only the locked versions are in it."""
    with pytest.raises(StackError, match="No module named pip"):
        run("docker", "run", "--rm", image, "python", "-m", "pip", "--version")
    with pytest.raises(StackError):
        run("docker", "run", "--rm", image, "gcc", "--version")
    code = (
        "from importlib.metadata import distributions as d;"
        "print(*sorted(f'{x.name.lower()}=={x.version}' for x in d(path=[__import__('sysconfig')"
        ".get_path('purelib')])))"
    )
    installed = run("docker", "run", "--rm", image, "python", "-c", code).split()
    locked = (ROOT / "requirements.txt").read_text("utf-8")
    for pin in installed:
        assert pin in locked or pin.startswith("flask-redis-counter=="), pin


def test_it_runs_confined(container):
    """Read-only, without capabilities, as nobody's user: it serves, and says what it lacks."""
    url = wait_for_answer(container)
    assert requests.get(url, timeout=5).status_code == 200
    assert requests.get(f"{url}/count", timeout=5).json()["counted"] is False
    assert run("docker", "exec", container, "id", "-u").strip() == "10001"
    wait_until(
        lambda: inspected(container)["State"]["Health"]["Status"] == "healthy", what="healthy"
    )


def test_sigterm_ends_it_soon(container):
    """PID 1 gets the signal and ends within two seconds, with exit code 0."""
    wait_for_answer(container)
    begun = time.monotonic()
    run("docker", "stop", "--time=10", container)
    assert time.monotonic() - begun < 2 + 0.5
    assert inspected(container)["State"]["ExitCode"] == 0


def test_without_a_store_it_says_what_to_do(image):
    """One clear line, exit code 2."""
    with pytest.raises(StackError, match=r"ended with 2:\s+Error: REDIS_URL: .*set REDIS_URL"):
        run("docker", "run", "--rm", image)


def test_the_development_target():
    """It runs Flask's own server, reachable from outside, with reload."""
    tag = f"{TAG}-dev"
    run("docker", "build", "--quiet", "--target", "dev", "--tag", tag, str(ROOT))
    assert inspected(tag)["Config"]["Cmd"] == [
        *("flask", "--app", "flask_redis_counter", "run", "--host=0.0.0.0", "--reload"),
    ]
