"""The image that is built from the Dockerfile."""

import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
import redis
import requests

from flask_redis_counter.testing import StackError, wait_until
from flask_redis_counter.testing.stacks.docker import run_docker
from flask_redis_counter.web.server.supervisor import SHUTDOWN_TIMEOUT

ROOT = Path(__file__).parents[2]
TAG = "flask-redis-counter:test"
BASE = "python:3.12-slim"
STORE = "redis:alpine"
MEGABYTE = 1_000_000


@pytest.fixture(scope="session")
def image():
    """The production image."""
    run_docker("docker", "build", "--quiet", "--tag", TAG, str(ROOT))
    return TAG


@pytest.fixture
def container(image):
    """A container of the image, read-only, without capabilities and without a store."""
    name = f"counter-image-{secrets.token_hex(4)}"
    confined = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
    published = ["--publish=127.0.0.1::5000", "--env=REDIS_HOST=127.0.0.1"]
    # Docker's client may pass a proxy configuration; this proxy does not exist.
    proxied = ["--env=HTTP_PROXY=http://127.0.0.1:9", "--env=http_proxy=http://127.0.0.1:9"]
    run_docker(
        "docker", "run", "--detach", f"--name={name}", *confined, *published, *proxied, image
    )
    yield name
    run_docker("docker", "rm", "--force", "--volumes", name)


def inspect(name):
    """Return the output of `docker inspect` for an image or a container."""
    return json.loads(run_docker("docker", "inspect", name))[0]


def wait_for_response(container):
    """Wait until the container responds, and return its URL."""
    port = run_docker("docker", "port", container, "5000").split()[0].rpartition(":")[2]
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: requests.get(f"{url}/healthz", timeout=2).ok, what="a response")
    return url


def test_image_size(image):
    """The layers on top of the base image have less than 50 MB."""
    added = inspect(image)["Size"] - inspect(BASE)["Size"]
    print(f"added to {BASE}: {added / MEGABYTE:.1f} MB")  # noqa: T201
    assert 0 < added < 50 * MEGABYTE


def test_image_configuration(image):
    """No root, a health check, an exec-form command, the port, and the OCI labels are set."""
    config = inspect(image)["Config"]
    assert config["User"] == "10001"
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert config["Cmd"] == ["flask-redis-counter", "serve", "--host=0.0.0.0"]
    assert not config.get("Entrypoint")
    assert "5000/tcp" in config["ExposedPorts"]
    labels = config["Labels"]
    for label in ("title", "description", "licenses"):
        assert labels[f"org.opencontainers.image.{label}"]


def test_image_has_no_build_tools(image):
    """The virtual environment has no pip, and only the locked versions."""
    with pytest.raises(StackError, match="No module named pip"):
        run_docker("docker", "run", "--rm", image, "python", "-m", "pip", "--version")
    with pytest.raises(StackError):
        run_docker("docker", "run", "--rm", image, "gcc", "--version")
    code = (
        "from importlib.metadata import distributions as d;"
        "print(*sorted(f'{x.name.lower()}=={x.version}'.replace('_', '-') for x in "
        "d(path=[__import__('sysconfig').get_path('purelib')])))"
    )
    installed = run_docker("docker", "run", "--rm", image, "python", "-c", code).split()
    locked = (ROOT / "requirements.txt").read_text("utf-8")
    for pin in installed:
        assert pin in locked or pin.startswith("flask-redis-counter=="), pin


#: Prints the programs on PATH, the system packages, the writable folders and setuid files.
INVENTORY = """
import json, os, subprocess
path = os.environ["PATH"].split(":") + os.defpath.split(":")
programs = {os.path.join(place, name) for place in path if os.path.isdir(place)
            for name in os.listdir(place)}
packages = subprocess.check_output(["dpkg-query", "--show"], text=True).splitlines()
writable = [place for place, _, _ in os.walk("/")
            if not place.startswith(("/proc", "/sys", "/dev")) and os.access(place, os.W_OK)]
setuid = [os.path.join(place, name) for place, _, names in os.walk("/venv") for name in names
          if os.stat(os.path.join(place, name)).st_mode & 0o6000]
print(json.dumps({"programs": sorted(programs), "packages": packages, "writable": writable,
                  "setuid": setuid}))
"""


def take_inventory(image, *options):
    """Return programs, packages, writable folders and setuid files of an image."""
    return json.loads(
        run_docker("docker", "run", "--rm", *options, image, "python", "-c", INVENTORY)
    )


def test_image_adds_only_own_programs(image):
    """The image adds no system packages, no setuid files and no other programs."""
    base, ours = take_inventory(BASE, "--user=10001"), take_inventory(image)
    layers = inspect(BASE)["RootFS"]["Layers"]
    assert inspect(image)["RootFS"]["Layers"][: len(layers)] == layers, "another base image"
    assert ours["packages"] == base["packages"]
    added = set(ours["programs"]) - set(base["programs"])
    assert {Path(program).parent for program in added} == {Path("/venv/bin")}
    names = {Path(program).name for program in added}
    assert {"flask-redis-counter", "python"} <= names
    tools = {name for name in names if name.startswith(("pip", "uv", "gcc", "cc", "wheel", "make"))}
    assert tools == set()
    assert ours["setuid"] == []
    writable = set(ours["writable"]) - set(base["writable"])
    assert writable == {"/spool"}, "the user may change files that the image adds"


def test_container_runs_confined(container):
    """Read-only, without capabilities or root, and with HTTP_PROXY set, it is healthy."""
    url = wait_for_response(container)
    assert requests.get(url, timeout=5).status_code == 200
    assert requests.get(f"{url}/count", timeout=5).json()["counted"] is False
    assert run_docker("docker", "exec", container, "id", "-u").strip() == "10001"
    wait_until(lambda: inspect(container)["State"]["Health"]["Status"] == "healthy", what="healthy")


def test_sigterm_ends_container(container):
    """PID 1 gets the signal and ends within two seconds, with exit code 0."""
    wait_for_response(container)
    begun = time.monotonic()
    run_docker("docker", "stop", "--time=10", container)
    assert time.monotonic() - begun < 2 + 0.5
    assert inspect(container)["State"]["ExitCode"] == 0


@pytest.fixture
def store(counting):
    """A store in the network of the counting container, and its client."""
    name = f"{counting}-store"
    server = ["redis-server", "--save", "", "--protected-mode", "no"]
    run_docker(
        "docker",
        "run",
        "--detach",
        f"--name={name}",
        f"--network=container:{counting}",
        STORE,
        *server,
    )
    port = run_docker("docker", "port", counting, "6379").split()[0].rpartition(":")[2]
    with redis.Redis(port=int(port), socket_timeout=5) as client:
        wait_until(client.ping, what="a response of the store")
        yield client
    run_docker("docker", "rm", "--force", "--volumes", name)


@pytest.fixture
def counting(image):
    """A container with a timeout for its store that is longer than the test."""
    name = f"counter-image-{secrets.token_hex(4)}"
    published = ["--publish=127.0.0.1::5000", "--publish=127.0.0.1::6379"]
    settings = ["--env=REDIS_HOST=127.0.0.1", "--env=COUNTER_TIMEOUT=30"]
    run_docker("docker", "run", "--detach", f"--name={name}", *published, *settings, image)
    yield name
    run_docker("docker", "rm", "--force", "--volumes", name)


def test_sigterm_lets_a_hit_in_flight_count(counting, store):
    """A hit that waits for the store at SIGTERM gets its response, and is in the store."""
    url = wait_for_response(counting)
    assert requests.get(f"{url}/count", timeout=30).json()["value"] == 1
    with ThreadPoolExecutor(1) as pool:
        store.client_pause(60_000, all=False)
        hit = pool.submit(requests.get, f"{url}/count", timeout=60)
        wait_until(lambda: has_blocked_client(store), what="a hit that waits")
        run_docker("docker", "kill", "--signal=TERM", counting)
        wait_until(
            lambda: refuses_connections(url), what="refused connections", timeout=SHUTDOWN_TIMEOUT
        )
        assert not hit.done()
        store.client_unpause()
        released = time.time()
        response = hit.result()
    assert (response.status_code, response.json()["value"]) == (200, 2)
    ended = run_docker("docker", "wait", counting).strip()
    assert ended == "0"
    finished = datetime.fromisoformat(inspect(counting)["State"]["FinishedAt"])
    assert finished.timestamp() - released < 2
    counted = run_docker(
        "docker", "exec", f"{counting}-store", "redis-cli", "GET", "counter:{visits}"
    )
    assert counted.strip() == "2"


def has_blocked_client(store):
    """Return whether a client waits for its reply."""
    return any("b" in client["flags"] for client in store.client_list())


def refuses_connections(url):
    """Return whether the server accepts no connections any more."""
    try:
        requests.get(f"{url}/healthz", timeout=2)
    except requests.ConnectionError:
        return True
    return False


def test_container_without_store_prints_what_to_do(image):
    """It prints one line, and exits with 2."""
    with pytest.raises(StackError, match=r"ended with 2:\s+Error: REDIS_URL: .*set REDIS_URL"):
        run_docker("docker", "run", "--rm", image)


def test_development_target():
    """The image runs Flask's development server on all interfaces, with reload."""
    tag = f"{TAG}-dev"
    run_docker("docker", "build", "--quiet", "--target", "dev", "--tag", tag, str(ROOT))
    assert inspect(tag)["Config"]["Cmd"] == [
        *("flask", "--app", "flask_redis_counter", "run", "--host=0.0.0.0", "--reload"),
    ]
