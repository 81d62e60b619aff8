"""The plugin with other networks, install locations and folders, and after SIGKILL."""

import re
import shutil
import signal
from pathlib import Path

import pytest

import flask_redis_counter
from flask_redis_counter.testing import ComposeStack, wait_until
from flask_redis_counter.testing.stacks.docker import run_docker

from .conftest import COMPOSE, CONFTEST

pytestmark = pytest.mark.compose

DOCS = Path(__file__).parents[2] / "docs" / "testing.md"

#: Services with other networks than the project's.
NETWORKS = f"""
{COMPOSE}
  alone:
    image: redis:alpine
    network_mode: none
    stop_grace_period: 1s
  host:
    image: redis:alpine
    command: [redis-server, --port, "0", --unixsocket, /tmp/redis]
    network_mode: host
    stop_grace_period: 1s
  guest:
    image: redis:alpine
    command: [redis-server, --port, "6380"]
    network_mode: service:redis
    stop_grace_period: 1s
  bridged:
    image: redis:alpine
    network_mode: bridge
    stop_grace_period: 1s
"""

PARTITIONS = """
import pytest
from flask_redis_counter.testing import StackError

@pytest.mark.parametrize("service, reason", [
    ("alone", "alone cannot be isolated: it has no network"),
    ("host", "host cannot be isolated: it has the machine's network"),
    ("guest", "guest cannot be isolated alone: it has the network of redis"),
])
def test_an_error(stack, faults, service, reason):
    with pytest.raises(StackError, match=reason), faults.partitioned(service):
        pytest.fail("not reached")

@pytest.mark.parametrize("service", ["redis", "bridged"])
def test_a_partition(stack, faults, service):
    (container,) = stack.containers(service)
    networks = lambda: sorted(stack.inspect(container)["NetworkSettings"]["Networks"])
    before = networks()
    with faults.partitioned(service):
        assert networks() == []
    assert networks() == before != []
"""

#: A proxy that runs as another user than the one who installed the plugin.
PROXIED = f"""
{COMPOSE}
  redis-proxy:
    image: python:3.12-slim
    command: [python, /proxy.py, --listen=6379, redis:6379]
    user: "1234"
    volumes: ["${{STACK_PROXY}}:/proxy.py:ro"]
    ports: ["127.0.0.1::6380"]
    stop_grace_period: 1s
"""

LATENCY = """
def test_latency(stack, faults):
    with faults.latency("redis", 0.1):
        pass
"""

#: A stack with one of each kind of Docker resource.
ALL_RESOURCES = """
services:
  redis:
    build: {context: ., dockerfile_inline: FROM redis:alpine}
    volumes: ["data:/data"]
    stop_grace_period: 1s
volumes:
  data:
"""

SLEEPS = """
import time

def test_it(stack):
    print(stack.project, file=open("began", "w"), flush=True)
    time.sleep(600)
"""


def test_partitions_with_other_networks(suite, pytester):
    """A service without its own network is an error; others are isolated and reconnected."""
    pytester.makefile(".yml", compose=NETWORKS)
    pytester.makepyfile(test_it=PARTITIONS)
    suite().assert_outcomes(passed=5)


def test_plugin_installed_under_umask_077(suite, pytester, monkeypatch):
    """Other users can read the proxy's script in a container."""
    package = Path(flask_redis_counter.__file__).parent
    installed = pytester.mkdir("private") / "flask_redis_counter"
    shutil.copytree(package, installed, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [installed, *installed.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)
    monkeypatch.setenv("PYTHONPATH", str(installed.parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "cache"))
    pytester.makefile(".yml", compose=PROXIED)
    pytester.makepyfile(test_it=LATENCY)
    suite().assert_outcomes(passed=1)
    (copy,) = pytester.path.joinpath("cache", "flask-redis-counter").iterdir()
    assert copy.read_bytes() == (installed / "testing" / "stacks" / "proxy.py").read_bytes()


@pytest.mark.parametrize("folder", [".", "tests", "tests/e2e"])
def test_conftest_below_root(suite, pytester, folder, monkeypatch):
    """The setting in the docs loads the plugin, whatever folder pytest is started from."""
    (setting,) = re.findall(r"^```toml\n(.*?)^```", DOCS.read_text("utf-8"), re.M | re.S)
    pytester.makepyprojecttoml(setting)
    below = pytester.path / "tests" / "e2e"
    below.mkdir(parents=True)
    loads = next(line for line in CONFTEST.splitlines() if line.startswith("pytest_plugins"))
    (below / "conftest.py").write_text(CONFTEST.replace(loads, ""))
    pytester.path.joinpath("conftest.py").unlink()
    pytester.path.joinpath("test_it.py").unlink()
    (below / "test_it.py").write_text("def test_it(stack, faults):\n    pass\n")
    monkeypatch.chdir(pytester.path / folder)
    suite().assert_outcomes(passed=1)


def test_leftovers_of_killed_run(pytester):
    """The commands in the docs find the project, and remove all its resources."""
    find, remove = re.findall(r"^```sh\n(.*?)^```", DOCS.read_text("utf-8"), re.M | re.S)
    pytester.makefile(".yml", compose=ALL_RESOURCES)
    pytester.makeconftest(CONFTEST.rpartition("@pytest")[0])  # without a name for the project
    pytester.makepyfile(test_it=SLEEPS)
    began = pytester.path / "began"
    command = pytester._getpytestargs()
    with pytester.popen([*command, "-p", "no:cacheprovider"], stdin=None) as running:
        try:
            name = wait_until(
                lambda: began.read_text().strip(), what="the beginning of the test", timeout=60
            )
        finally:
            running.send_signal(signal.SIGKILL)
    left = ComposeStack([], name).leftovers()
    assert {one.split()[0] for one in left} == {"container", "network", "volume", "image"}
    assert name in run_docker("sh", "-c", find).split()
    (example,) = re.findall(r"project=(pytest-\S+)", remove)
    run_docker("sh", "-c", remove.replace(example, name))
    assert ComposeStack([], name).leftovers() == []
