"""The image, built from the Dockerfile as it stands."""

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
from flask_redis_counter.web.server import SHUTDOWN_TIMEOUT

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
    """A container of it, read-only and without any capability; no store is near."""
    name = f"counter-image-{secrets.token_hex(4)}"
    confined = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
    published = ["--publish=127.0.0.1::5000", "--env=REDIS_HOST=127.0.0.1"]
    # As Docker's client may set them, of a proxy that does not reach the container.
    proxied = ["--env=HTTP_PROXY=http://127.0.0.1:9", "--env=http_proxy=http://127.0.0.1:9"]
    run_docker(
        "docker", "run", "--detach", f"--name={name}", *confined, *published, *proxied, image
    )
    yield name
    run_docker("docker", "rm", "--force", "--volumes", name)


def inspected(what):
    """Return what Docker knows of an image or a container."""
    return json.loads(run_docker("docker", "inspect", what))[0]


def wait_for_answer(container):
    """Wait until the container answers, and return its URL."""
    port = run_docker("docker", "port", container, "5000").split()[0].rpartition(":")[2]
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


#: Prints the programs on the usual PATH, what the system's packages are, and what we may write to.
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


def inventory(image, *options):
    """Return what an image has."""
    return json.loads(
        run_docker("docker", "run", "--rm", *options, image, "python", "-c", INVENTORY)
    )


def test_nothing_came_along(image):
    """Beyond the base image: no layer but ours, no package, and only our own programs."""
    base, ours = inventory(BASE, "--user=10001"), inventory(image)
    layers = inspected(BASE)["RootFS"]["Layers"]
    assert inspected(image)["RootFS"]["Layers"][: len(layers)] == layers, "another base image"
    assert ours["packages"] == base["packages"]
    added = set(ours["programs"]) - set(base["programs"])
    assert {Path(program).parent for program in added} == {Path("/venv/bin")}
    names = {Path(program).name for program in added}
    assert {"flask-redis-counter", "python"} <= names
    tools = {name for name in names if name.startswith(("pip", "uv", "gcc", "cc", "wheel", "make"))}
    assert tools == set()
    assert ours["setuid"] == []
    writable = set(ours["writable"]) - set(base["writable"])
    assert writable == {"/spool"}, "the user may change what we added"


def test_it_runs_confined(container):
    """Read-only, without capabilities or root, with HTTP_PROXY set, it serves and is healthy."""
    url = wait_for_answer(container)
    assert requests.get(url, timeout=5).status_code == 200
    assert requests.get(f"{url}/count", timeout=5).json()["counted"] is False
    assert run_docker("docker", "exec", container, "id", "-u").strip() == "10001"
    wait_until(
        lambda: inspected(container)["State"]["Health"]["Status"] == "healthy", what="healthy"
    )


def test_sigterm_ends_it_soon(container):
    """PID 1 gets the signal and ends within two seconds, with exit code 0."""
    wait_for_answer(container)
    begun = time.monotonic()
    run_docker("docker", "stop", "--time=10", container)
    assert time.monotonic() - begun < 2 + 0.5
    assert inspected(container)["State"]["ExitCode"] == 0


@pytest.fixture
def store(counting):
    """A store in the network of a container that counts, and a client of it."""
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
        wait_until(client.ping, what="an answer of the store")
        yield client
    run_docker("docker", "rm", "--force", "--volumes", name)


@pytest.fixture
def counting(image):
    """A container that waits for its store, for longer than a test takes."""
    name = f"counter-image-{secrets.token_hex(4)}"
    published = ["--publish=127.0.0.1::5000", "--publish=127.0.0.1::6379"]
    settings = ["--env=REDIS_HOST=127.0.0.1", "--env=COUNTER_TIMEOUT=30"]
    run_docker("docker", "run", "--detach", f"--name={name}", *published, *settings, image)
    yield name
    run_docker("docker", "rm", "--force", "--volumes", name)


def test_sigterm_lets_a_hit_in_flight_count(counting, store):
    """A hit that the store holds up when the signal comes is answered, and is in the store."""
    url = wait_for_answer(counting)
    assert requests.get(f"{url}/count", timeout=30).json()["value"] == 1
    with ThreadPoolExecutor(1) as pool:
        store.client_pause(60_000, all=False)
        hit = pool.submit(requests.get, f"{url}/count", timeout=60)
        wait_until(lambda: held_up(store), what="a hit that is held up")
        run_docker("docker", "kill", "--signal=TERM", counting)
        wait_until(lambda: refuses(url), what="no new visitors", timeout=SHUTDOWN_TIMEOUT)
        assert not hit.done()
        store.client_unpause()
        released = time.time()
        answer = hit.result()
    assert (answer.status_code, answer.json()["value"]) == (200, 2)
    ended = run_docker("docker", "wait", counting).strip()
    assert ended == "0"
    finished = datetime.fromisoformat(inspected(counting)["State"]["FinishedAt"])
    assert finished.timestamp() - released < 2
    counted = run_docker(
        "docker", "exec", f"{counting}-store", "redis-cli", "GET", "counter:{visits}"
    )
    assert counted.strip() == "2"


def held_up(store):
    """Whether a client waits for its answer."""
    return any("b" in client["flags"] for client in store.client_list())


def refuses(url):
    """Whether nobody takes connections there any more."""
    try:
        requests.get(f"{url}/healthz", timeout=2)
    except requests.ConnectionError:
        return True
    return False


def test_without_a_store_it_says_what_to_do(image):
    """One clear line, exit code 2."""
    with pytest.raises(StackError, match=r"ended with 2:\s+Error: REDIS_URL: .*set REDIS_URL"):
        run_docker("docker", "run", "--rm", image)


def test_the_development_target():
    """It runs Flask's own server, reachable from outside, with reload."""
    tag = f"{TAG}-dev"
    run_docker("docker", "build", "--quiet", "--target", "dev", "--tag", tag, str(ROOT))
    assert inspected(tag)["Config"]["Cmd"] == [
        *("flask", "--app", "flask_redis_counter", "run", "--host=0.0.0.0", "--reload"),
    ]
