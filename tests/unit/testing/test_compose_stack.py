"""What a stack of containers asks of Docker, and what it makes of the answers."""

import json

import pytest

from flask_redis_counter.testing import ComposeStack, Faults, StackError
from flask_redis_counter.testing.stacks import compose, docker, networks, project

NETWORKS = {
    "store": {"Aliases": ["redis"], "IPAMConfig": None},
    "fixed": {"Aliases": ["redis", "db"], "IPAMConfig": {"IPv4Address": "10.1.2.3"}},
}


class Docker:
    """A Docker with the containers of one service, ``redis``, that remembers what it was told."""

    def __init__(self):
        self.told = []
        self.containers = ["abc"]
        self.networks = dict(NETWORKS)
        self.modes = {}

    def run(self, *command):
        """Answer as Docker does."""
        self.told.append(command)
        match command:
            case ("docker", "ps", *_):
                wanted = "--filter=label=com.docker.compose.service=redis" in command
                return "".join(f"1 {one}\n" for one in self.containers if wanted)
            case ("docker", "inspect", *containers):
                state = {"Status": "running"}
                ports = {"6379/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}]}
                service = {"Labels": {"com.docker.compose.service": "web"}}  # asked of others
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
    """A Docker that replaces the real one."""
    made = Docker()
    for module in (compose, docker, networks, project):
        monkeypatch.setattr(module, "run_docker", made.run)
    return made


@pytest.fixture
def stack():
    """A stack that nobody has started."""
    return ComposeStack([], "project")


def test_a_partition_within_a_partition_is_an_error(stack, engine):
    """The outer one is healed: the inner one does not forget where the service has been."""
    with Faults(stack).partitioned("redis"):
        with pytest.raises(StackError, match="redis is on no network"):
            stack.isolate("redis")
        assert engine.networks == {}
    assert engine.networks == NETWORKS


def test_after_a_partition_a_service_has_its_names_and_addresses_again(stack, engine):
    """Those that its Compose file has fixed; the others are Docker's to give."""
    with Faults(stack).partitioned("redis"):
        assert engine.networks == {}
    connect = ("docker", "network", "connect")
    assert engine.told[-2:] == [
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
def test_a_service_without_containers_is_an_error(stack, engine, do, service):
    """Mistyped, or removed by somebody: nothing was done, and nothing is healed."""
    engine.containers.clear()
    with pytest.raises(StackError, match=f"no container of the service {service}"):
        do(stack, service)


def test_a_replica_that_is_not_there_is_an_error(stack, engine):
    """With the service's name."""
    with pytest.raises(StackError, match="redis has 1 replicas, and no number 7"):
        stack.kill("redis", replica=7)


def test_a_service_without_a_proxy(stack, engine):
    """The error says what there has to be, at once."""
    with pytest.raises(StackError, match=r"add a service redis-proxy .* publishes port 6380"):
        stack.proxy("redis")


def test_nothing_is_so_for_no_replicas(stack, engine):
    """A service that is not there is not ready, either."""
    engine.containers.clear()
    with pytest.raises(StackError, match="redis ready"):
        stack.wait_for("redis", lambda one: one.is_ready, what="ready", timeout=0)


def test_scaling_to_none(stack, engine):
    """There is nobody to wait for."""
    engine.containers.clear()
    stack.scale("redis", 0)
    assert any("--scale=redis=0" in command for command in engine.told)


def test_an_engine_elsewhere(engine):
    """Its ports are reached at its address, not at the one that they are published on."""
    assert ComposeStack([], "project", host="10.0.0.7").address("redis", 6379) == (
        "10.0.0.7",
        32768,
    )


def test_a_port_that_is_not_published(stack, engine):
    """Is an error at once, with those that are."""
    with pytest.raises(StackError, match="its port 80; it publishes 6379/tcp"):
        stack.address("redis", 80)
    with pytest.raises(StackError, match="no container of the service web"):
        stack.address("web", 80)


def test_a_start_leaves_the_others_alone(stack, engine):
    """Compose would start what the service depends on, and run jobs again."""
    engine.containers.append("def")
    stack.start("redis", replica=1)
    assert ("docker", "start", "def") in engine.told
    stack.start("redis")
    assert ("docker", "start", "abc", "def") in engine.told
    assert not any(command[1] == "compose" for command in engine.told)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("none", r"redis cannot be isolated: it has no network \(network_mode: none\)"),
        ("host", "redis cannot be isolated: it has the machine's network"),
        ("container:xyz", "it has the network of web .*; isolate web, and redis is isolated too"),
    ],
)
def test_a_partition_that_could_not_be_one_is_an_error(stack, engine, mode, reason):
    """It says why; nothing was disconnected, not even the replica that could be."""
    engine.containers.append("def")
    engine.modes["def"] = mode
    with pytest.raises(StackError, match=reason), Faults(stack).partitioned("redis"):
        pytest.fail("not reached")
    assert not any("network" in command for command in engine.told)
