"""The Compose files, alone and combined, as Compose resolves them; nothing is started."""

import json
import shutil
from pathlib import Path

import pytest

from flask_redis_counter.config.settings import SETTINGS
from flask_redis_counter.testing.stacks.docker import run_docker

ROOT = Path(__file__).parents[2]
BASE = "docker-compose.yml"
KINDS = ("dev", "scale", "metrics", "sentinel", "cluster", "test")
DEV, SCALE, METRICS, SENTINEL, CLUSTER, TEST = (f"docker-compose.{kind}.yml" for kind in KINDS)
E2E = "tests/e2e"

#: Combinations that users run.
USER_FILES = [(BASE,), (BASE, DEV), (BASE, SCALE), (BASE, METRICS), (BASE, SCALE, METRICS)]
USER_FILES += [(BASE, SENTINEL), (BASE, SENTINEL, SCALE), (BASE, SCALE, SENTINEL)]
USER_FILES += [(BASE, CLUSTER), (BASE, CLUSTER, SCALE)]
#: Combinations that the tests run.
TESTS = [
    (BASE, TEST),
    (BASE, TEST, DEV),
    (BASE, TEST, SCALE, f"{E2E}/docker-compose.scale.yml"),
    (BASE, TEST, SCALE, f"{E2E}/docker-compose.scale.yml", f"{E2E}/docker-compose.many.yml"),
    (BASE, TEST, SCALE, f"{E2E}/docker-compose.scale.yml", f"{E2E}/docker-compose.reuse.yml"),
    (BASE, TEST, SCALE, f"{E2E}/docker-compose.scale.yml", f"{E2E}/docker-compose.client.yml"),
    (BASE, TEST, SENTINEL, f"{E2E}/docker-compose.sentinel.yml"),
    (BASE, TEST, CLUSTER, f"{E2E}/docker-compose.cluster.yml"),
    (BASE, TEST, f"{E2E}/docker-compose.proxy.yml"),
    (BASE, TEST, f"{E2E}/docker-compose.valkey.yml"),
    (BASE, TEST, f"{E2E}/docker-compose.valkey.yml", f"{E2E}/docker-compose.proxy.yml"),
]
EXAMPLES = [
    ("examples/guestbook/docker-compose.yml",),
    ("examples/guestbook/docker-compose.yml", "examples/guestbook/docker-compose.test.yml"),
    ("examples/failover/docker-compose.yml",),
]


#: Settings of another store, read only from .env: a shell may have them for other programs.
STORE = {"REDIS_URL", "REDIS_DB", "REDIS_USERNAME", "REDIS_PASSWORD_FILE"}
#: Paths inside the container.
INSIDE = {"COUNTER_DATA_DIR", "COUNTER_METRICS_DIR"}
INSIDE |= {"COUNTER_ADMIN_KEY_FILE", "COUNTER_METRICS_TOKEN_FILE"}
#: For Flask apps; the service rejects it.
APPS = {"COUNTER_ENABLED"}


def resolve(files, folder=ROOT):
    """Return the resolved Compose files; Compose rejects invalid or unknown keys."""
    arguments = [f"--file={ROOT / file}" for file in files]
    arguments.append(f"--project-directory={folder}")
    return json.loads(run_docker("docker", "compose", *arguments, "config", "--format=json"))


def test_every_compose_file_is_tested():
    """Each Compose file of the project is in a combination above."""
    existing = {str(path.relative_to(ROOT)) for path in ROOT.glob("docker-compose*.yml")}
    existing |= {str(path.relative_to(ROOT)) for path in (ROOT / E2E).glob("docker-compose*.yml")}
    existing |= {
        str(path.relative_to(ROOT)) for path in ROOT.glob("examples/*/docker-compose*.yml")
    }
    assert existing == {file for files in USER_FILES + TESTS + EXAMPLES for file in files}


@pytest.mark.parametrize("files", TESTS + EXAMPLES, ids=" + ".join)
def test_compose_files_of_tests_are_valid(files):
    """Their ports are free ones on the loopback, except in the example for users."""
    services = resolve(files)["services"]
    if files in TESTS or len(files) > 1:
        for service in services.values():
            for port in service.get("ports", []):
                assert port["host_ip"] == "127.0.0.1"
                assert "published" not in port


@pytest.mark.parametrize("files", USER_FILES, ids=" + ".join)
def test_every_service_is_confined(files):
    """Read-only, no capabilities, no new privileges, limits; one published port."""
    config = resolve(files)
    services = config["services"]
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert int(service["mem_limit"]) <= 256 * 2**20, name
        assert service["pids_limit"] <= 256, name
        assert not service.get("privileged"), name
        # The service that makes a cluster of the nodes runs once.
        expected = "no" if name == "cluster" else "unless-stopped"
        assert service["restart"] == expected, name
        for mount in service.get("volumes", []):
            assert mount["type"] == "volume" or mount["read_only"], name
            # In a clone made under umask 077, only its owner can read a mounted file.
            assert mount["type"] == "volume" or files == (BASE, DEV), name
        checked = service.get("healthcheck", {"disable": name != "web"})  # web's is in the image
        assert checked.get("disable", False) == (name == "cluster"), name
    # Prometheus is published only on this machine.
    if "prometheus" in services:
        [port] = services["prometheus"].pop("ports")
        assert port["host_ip"] == "127.0.0.1"
    ports = {name: service["ports"] for name, service in services.items() if service.get("ports")}
    assert list(ports) == ["lb" if SCALE in files else "web"]
    [[port]] = ports.values()
    assert (port["published"], port["target"]) == ("5000", 5000)
    assert config["networks"]["store"]["internal"] is True
    for name in services.keys() - {"web", "lb", "prometheus"}:
        assert list(services[name]["networks"]) == ["store"], name


@pytest.mark.parametrize("files", USER_FILES, ids=" + ".join)
def test_port_variables(files, monkeypatch):
    """HTTP_PORT is the port of the stack, PROMETHEUS_PORT the one of Prometheus."""
    monkeypatch.setenv("HTTP_PORT", "127.0.0.1:5070")
    monkeypatch.setenv("PROMETHEUS_PORT", "9091")
    services = resolve(files)["services"]
    [port] = services["lb" if SCALE in files else "web"]["ports"]
    assert (port["host_ip"], port["published"], port["target"]) == ("127.0.0.1", "5070", 5000)
    if METRICS in files:
        assert services["prometheus"]["ports"][0]["published"] == "9091"


def test_every_setting_is_passed_on(tmp_path, monkeypatch):
    """The service gets each setting in the shell's environment."""
    passed = resolve((BASE,), tmp_path)["services"]["web"]["environment"]
    assert passed.keys() == SETTINGS.keys() - STORE - INSIDE - APPS
    monkeypatch.setenv("COUNTER_PREFIX", "mine:")
    assert resolve((BASE,))["services"]["web"]["environment"]["COUNTER_PREFIX"] == "mine:"


def test_whole_env_file_is_passed_on(tmp_path):
    """The service gets all of .env: another store, and misspelt settings to warn about."""
    (tmp_path / ".env").write_text(
        "COUNTER_TIMOUT=2\nCOUNTER_SPOOL_MAX_MB=5\nREDIS_URL=redis://elsewhere:6379/0\n"
        "COUNTER_ADMIN_KEY='sixteen-or-more-$characters'\nREDIS_PASSWORD='with a \"$\"'\n"
    )
    services = resolve((BASE,), tmp_path)["services"]
    passed = services["web"]["environment"]
    assert passed["COUNTER_TIMOUT"] == "2"
    assert passed["COUNTER_SPOOL_MAX_MB"] == "5"
    assert passed["REDIS_URL"] == "redis://elsewhere:6379/0"
    # Compose escapes "$" as "$$" in its output.
    assert passed["COUNTER_ADMIN_KEY"] == "sixteen-or-more-$$characters"
    assert passed["REDIS_PASSWORD"] == 'with a "$$"'
    # The bundled Redis has the same password.
    command = services["redis"]["command"]
    assert command[command.index("--requirepass") + 1] == 'with a "$$"'


@pytest.mark.parametrize("files", [(BASE, SENTINEL), (BASE, SENTINEL, SCALE)], ids=" + ".join)
def test_servers_of_sentinels_are_alike(files, monkeypatch):
    """Each has the image, the options and the password of `redis`, and a volume of its own."""
    monkeypatch.setenv("REDIS_PASSWORD", "secret")
    config = resolve(files)
    services = config["services"]
    assert services["web"]["environment"]["REDIS_URL"].startswith("redis+sentinel://")
    servers = ["redis", "redis-2", "redis-3"]
    sentinels = ["sentinel-1", "sentinel-2", "sentinel-3"]
    for names in (servers, sentinels):
        first, *others = (services[name] for name in names)
        for name, service in zip(names, (first, *others), strict=True):
            assert service["image"] == services["redis"]["image"]
            assert service["environment"] == {"REDIS_PASSWORD": "secret", "SERVICE": name}
            assert [mount["target"] for mount in service["volumes"]] == ["/data"]
        own = ("environment", "networks", "volumes")
        for service in others:
            assert {key: service[key] for key in service if key not in own} == {
                key: first[key] for key in first if key not in own
            }
    [*options] = resolve((BASE,))["services"]["redis"]["command"]
    assert services["redis"]["command"] == options
    volumes = [services[name]["volumes"][0]["source"] for name in servers + sentinels]
    assert len(set(volumes)) == 6
    assert set(volumes) <= config["volumes"].keys()


def test_nodes_of_a_cluster_are_alike(monkeypatch):
    """Each has the image, the options and the password of `redis`, and a volume of its own."""
    monkeypatch.setenv("REDIS_PASSWORD", "secret")
    config = resolve((BASE, CLUSTER))
    services = config["services"]
    assert "redis" not in services
    names = [f"node-{number}" for number in range(1, 7)]
    hosts = ",".join(f"{name}:6379" for name in names)
    assert services["web"]["environment"]["REDIS_URL"] == f"redis+cluster://{hosts}"
    first, *others = (services[name] for name in names)
    own = ("networks", "volumes")
    for service in others:
        assert {key: service[key] for key in service if key not in own} == {
            key: first[key] for key in first if key not in own
        }
    redis = resolve((BASE,))["services"]["redis"]
    for option in ("image", "cap_drop", "read_only", "security_opt", "user", "mem_limit"):
        assert first[option] == services["cluster"][option] == redis[option]
    assert first["command"] == redis["command"]
    assert first["environment"] == redis["environment"]
    volumes = [services[name]["volumes"][0]["source"] for name in names]
    assert len(set(volumes)) == 6
    assert set(volumes) <= config["volumes"].keys()


def test_balancer_can_read_its_configuration(tmp_path):
    """HAProxy's user can read its files, also from a clone made under umask 077."""
    for name in (BASE, SCALE):
        shutil.copy(ROOT / name, tmp_path)
    deploy = tmp_path / "deploy"
    shutil.copytree(ROOT / "deploy", deploy)
    for file in deploy.iterdir():
        file.chmod(0o600)
    deploy.chmod(0o700)
    files = [f"--file={tmp_path / name}" for name in (BASE, SCALE)]
    run_docker("docker", "compose", *files, "build", "lb")
    image = resolve((BASE, SCALE))["services"]["lb"]["image"]
    config = "/usr/local/etc/haproxy/haproxy.cfg"
    run_docker("docker", "run", "--rm", "--network=none", image, "haproxy", "-c", "-f", config)
