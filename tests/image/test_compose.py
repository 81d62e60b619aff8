"""The Compose files, alone and together: what they say, without starting anything."""

import json
from pathlib import Path

import pytest

from flask_redis_counter.testing.docker import run

ROOT = Path(__file__).parents[2]
BASE = "docker-compose.yml"
KINDS = ("dev", "scale", "metrics", "test")
DEV, SCALE, METRICS, TEST = (f"docker-compose.{kind}.yml" for kind in KINDS)
E2E = "tests/e2e"

#: What a user runs.
OURS = [(BASE,), (BASE, DEV), (BASE, SCALE), (BASE, METRICS), (BASE, SCALE, METRICS)]
#: What the tests run.
TESTS = [
    (BASE, TEST),
    (BASE, TEST, DEV),
    (BASE, TEST, SCALE, f"{E2E}/docker-compose.scale.yml"),
    (BASE, TEST, f"{E2E}/docker-compose.proxy.yml"),
    (BASE, TEST, f"{E2E}/docker-compose.valkey.yml"),
    (BASE, TEST, f"{E2E}/docker-compose.valkey.yml", f"{E2E}/docker-compose.proxy.yml"),
]
EXAMPLES = [
    ("examples/guestbook/docker-compose.yml",),
    ("examples/guestbook/docker-compose.yml", "examples/guestbook/docker-compose.test.yml"),
]


def together(files):
    """Return what Compose makes of the files; it refuses what is malformed or unknown."""
    arguments = [f"--file={ROOT / file}" for file in files]
    return json.loads(run("docker", "compose", *arguments, "config", "--format=json"))


def test_no_file_is_left_out():
    """Each Compose file of the project is in a combination."""
    there = {str(path.relative_to(ROOT)) for path in ROOT.glob("docker-compose*.yml")}
    there |= {str(path.relative_to(ROOT)) for path in (ROOT / E2E).glob("docker-compose*.yml")}
    there |= {str(path.relative_to(ROOT)) for path in ROOT.glob("examples/*/docker-compose*.yml")}
    assert there == {file for files in OURS + TESTS + EXAMPLES for file in files}


@pytest.mark.parametrize("files", TESTS + EXAMPLES, ids=" + ".join)
def test_what_tests_run_is_valid(files):
    """And its ports are free ones on the loopback, except where a user runs it."""
    services = together(files)["services"]
    if files in TESTS or len(files) > 1:
        for service in services.values():
            for port in service.get("ports", []):
                assert port["host_ip"] == "127.0.0.1"
                assert "published" not in port


@pytest.mark.parametrize("files", OURS, ids=" + ".join)
def test_every_service_is_confined(files):
    """Read-only, no capabilities, no new privileges, with limits; one port for the outside."""
    config = together(files)
    services = config["services"]
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert int(service["mem_limit"]) <= 256 * 2**20, name
        assert service["pids_limit"] <= 256, name
        assert not service.get("privileged"), name
        assert service["restart"] == "unless-stopped", name
        for mount in service.get("volumes", []):
            assert mount["type"] == "volume" or mount["read_only"], name
    # Prometheus is for this machine alone.
    if "prometheus" in services:
        [port] = services["prometheus"].pop("ports")
        assert port["host_ip"] == "127.0.0.1"
    ports = {name: service["ports"] for name, service in services.items() if service.get("ports")}
    assert list(ports) == ["lb" if SCALE in files else "web"]
    [[port]] = ports.values()
    assert (port["published"], port["target"]) == ("5000", 5000)
    assert config["networks"]["store"]["internal"] is True
    assert list(services["redis"]["networks"]) == ["store"]
