"""A ComposeStack calls Docker with the right commands, and parses their output."""

import json

import pytest

from flask_redis_counter.testing import ComposeStack, Faults, StackError
from flask_redis_counter.testing.stacks import compose, docker, networks, project

NETWORKS = {
    "store": {"Aliases": ["redis"], "IPAMConfig": None},
    "fixed": {"Aliases": ["redis", "db"], "IPAMConfig": {"IPv4Address": "10.1.2.3"}},
}


class Docker:
    """A fake Docker with containers of the service ``redis``, which records its commands."""

    def __init__(self):
        self.commands = []
        self.containers = ["abc"]
        self.networks = dict(NETWORKS)
        self.modes = {}

    def run(self, *command):
        """Return the output of a Docker command."""
        self.commands.append(command)
        match command:
            case ("docker", "ps", *_):
                wanted = "--filter=label=com.docker.compose.service=redis" in command
                return "".join(f"1 {one}\n" for one in self.containers if wanted)
            case ("docker", "inspect", *containers):
                state = {"Status": "running"}
                ports = {"6379/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}]}
                service = {
                    "Labels": {"com.docker.compose.service": "web"}
                }  # of the container that shares its network
                known = {"State": state, "Config": service}
                known["NetworkSettings"] = {"Networks": self.networks, "Ports": ports}
                return json.dumps(
                    [
                        {
                            "Name": f"/{one}",
                            "HostConfig": {
                                "PortBindings": ports,
                                "NetworkMode": self.modes.get(one, "project_default"),
                            },
                            **known,
                        }
                        for one in containers
                    ]
                )
            case ("docker", "network", "disconnect", network, _):
                del self.networks[network]
            case ("docker", "network", "connect", *_, network, _):
                self.networks[network] = NETWORKS[network]
        return ""


@pytest.fixture
def engine(monkeypatch):
    """A fake Docker that replaces the real one."""
    made = Docker()
    for module in (compose, docker, networks, project):
        monkeypatch.setattr(module, "run_docker", made.run)
    return made


@pytest.fixture
def stack():
    """A stack that is not started."""
    return ComposeStack([], "project")


def test_isolate_twice_is_error(stack, engine):
    """The first isolation can still be undone: the networks are not forgotten."""
    with Faults(stack).partitioned("redis"):
        with pytest.raises(StackError, match="redis is isolated already"):
            stack.isolate("redis")
        assert engine.networks == {}
    assert engine.networks == NETWORKS


def test_reconnect_restores_names_and_addresses(stack, engine):
    """Aliases and fixed addresses are restored; Docker assigns the other addresses."""
    with Faults(stack).partitioned("redis"):
        assert engine.networks == {}
    connect = ("docker", "network", "connect")
    assert engine.commands[-2:] == [
        (*connect, "--alias=redis", "store", "abc"),
        (*connect, "--alias=redis", "--alias=db", "--ip=10.1.2.3", "fixed", "abc"),
    ]


@pytest.mark.parametrize("service", ["redsi", "redis"])
@pytest.mark.parametrize(
    "do",
    [
        lambda stack, service: stack.start(service),
        lambda stack, service: stack.stop(service),
        lambda stack, service: stack.kill(service),
        lambda stack, service: stack.kill(service, replica=0),
        lambda stack, service: stack.pause(service),
        lambda stack, service: stack.unpause(service),
        lambda stack, service: stack.isolate(service),
        lambda stack, service: stack.reconnect(service),
    ],
)
def test_service_without_containers_is_error(stack, engine, do, service):
    """The name is mistyped, or the containers were removed."""
    engine.containers.clear()
    with pytest.raises(StackError, match=f"no container of the service {service}"):
        do(stack, service)


def test_kill_of_unknown_replica_is_error(stack, engine):
    """The error has the service's name and the number of replicas."""
    with pytest.raises(StackError, match="redis has 1 replicas, and no number 7"):
        stack.kill("redis", replica=7)


def test_proxy_of_service_without_proxy_is_error(stack, engine):
    """The error says which service to add."""
    with pytest.raises(StackError, match=r"add a service redis-proxy .* publishes port 6380"):
        stack.proxy("redis")


def test_wait_for_service_without_replicas_fails(stack, engine):
    """A service without containers is not ready."""
    engine.containers.clear()
    with pytest.raises(StackError, match="redis ready"):
        stack.wait_for("redis", lambda one: one.is_ready, what="ready", timeout=0)


def test_scale_to_zero(stack, engine):
    """scale() does not wait for containers."""
    engine.containers.clear()
    stack.scale("redis", 0)
    assert any("--scale=redis=0" in command for command in engine.commands)


def test_address_on_remote_engine(engine):
    """The address has the engine's host, not the one that Docker reports."""
    assert ComposeStack([], "project", host="10.0.0.7").address("redis", 6379) == (
        "10.0.0.7",
        32768,
    )


def test_address_of_unpublished_port_is_error(stack, engine):
    """The error lists the published ports."""
    with pytest.raises(StackError, match="its port 80; it publishes 6379/tcp"):
        stack.address("redis", 80)
    with pytest.raises(StackError, match="no container of the service web"):
        stack.address("web", 80)


def test_start_does_not_start_dependencies(stack, engine):
    """Compose would start dependencies, and run one-shot services again."""
    engine.containers.append("def")
    stack.start("redis", replica=1)
    assert ("docker", "start", "def") in engine.commands
    stack.start("redis")
    assert ("docker", "start", "abc", "def") in engine.commands
    assert not any(command[1] == "compose" for command in engine.commands)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("none", r"redis cannot be isolated: it has no network \(network_mode: none\)"),
        ("host", "redis cannot be isolated: it has the machine's network"),
        ("container:xyz", "it has the network of web .*; isolate web, and redis is isolated too"),
    ],
)
def test_isolate_without_own_network_is_error(stack, engine, mode, reason):
    """No container is disconnected, not even a replica with a network of its own."""
    engine.containers.append("def")
    engine.modes["def"] = mode
    with pytest.raises(StackError, match=reason), Faults(stack).partitioned("redis"):
        pytest.fail("not reached")
    assert not any("network" in command for command in engine.commands)
