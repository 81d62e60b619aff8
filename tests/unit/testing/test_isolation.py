"""An isolated service shares a network with its clients alone, and gets its own ones back."""

import json

import pytest

from flask_redis_counter.testing import CommandResult, ComposeStack, Faults, StackError
from flask_redis_counter.testing.stacks import compose, docker, isolation, networks, project

PRIVATE = "project_isolated-redis"


def settings(*aliases, address=None):
    """Return the settings of a container on a network."""
    return {"Aliases": list(aliases), "IPAMConfig": address and {"IPv4Address": address}}


class Docker:
    """A fake Docker whose containers have the names of their services.

    :ivar attached: the networks of each container, with its settings.
    :ivar created: the networks that were created and not removed.
    :ivar fail: the beginning of a command that fails, once.
    """

    def __init__(self):
        self.attached = {
            "redis": {"front": settings("redis"), "back": settings("db", address="10.1.2.3")},
            "web": {"front": settings("web")},
            "replica": {"back": settings("replica")},
        }
        self.created = set()
        self.commands = []
        self.fail = ()

    def run(self, *command):
        """Return the output of a command."""
        self.commands.append(command)
        if self.fail and command[: len(self.fail)] == self.fail:
            self.fail = ()
            raise StackError("it failed")
        match command[1:]:
            case ("ps", *filters):
                service = filters[-2].rpartition("=")[2]
                return f"1 {service}\n" if service in self.attached else ""
            case ("inspect", *containers):
                return json.dumps([self._facts(one) for one in containers])
            case ("network", "create", *_, network):
                self.created.add(network)
            case ("network", "rm", network):
                assert not any(network in each for each in self.attached.values())
                self.created.remove(network)
            case ("network", "disconnect", *_, network, container):
                del self.attached[container][network]
            case ("network", "connect", *options, network, container):
                each = [option.partition("=")[2] for option in options]
                names = [one for one in each if "." not in one]
                address = next((one for one in each if "." in one), None)
                self.attached[container][network] = settings(*names, address=address)
        return ""

    def _facts(self, container):
        return {
            "Name": container,
            "State": {"Status": "running"},
            "HostConfig": {"NetworkMode": "front"},
            "NetworkSettings": {"Networks": self.attached[container]},
        }


@pytest.fixture
def engine(monkeypatch):
    """A fake Docker that replaces the real one."""
    made = Docker()
    for module in (compose, docker, networks, project):
        monkeypatch.setattr(module, "run_docker", made.run)

    def run(command):
        if command[-1] not in made.attached:
            return CommandResult(1, "", "Error response: No such container: web")
        return CommandResult(0, made.run(*command), "")

    monkeypatch.setattr(networks, "run_docker_command", run)
    return made


@pytest.fixture
def isolated(engine):
    """The fault that leaves Redis its client ``web``."""
    return Faults(ComposeStack([], "project")).isolated("redis", with_clients=["web"])


def test_isolated_service_keeps_clients(engine, isolated):
    """Both have their names on the private network; the client keeps its other networks."""
    before = json.loads(json.dumps(engine.attached))
    with isolated:
        assert engine.attached == {
            "redis": {PRIVATE: settings("db", "redis")},
            "web": {"front": settings("web"), PRIVATE: settings("web")},
            "replica": before["replica"],
        }
        (create,) = [it for it in engine.commands if it[:3] == ("docker", "network", "create")]
        assert "--internal" in create
        assert "--label=com.docker.compose.project=project" in create
    assert (engine.attached, engine.created) == (before, set())


def test_client_reaches_service_at_any_time(engine, isolated):
    """The private network exists before the others are cut, and until they are back."""
    with isolated:
        pass
    steps = [command[2] for command in engine.commands if command[1] == "network"]
    assert steps == [
        *("create", "connect", "connect", "disconnect", "disconnect"),
        *("connect", "connect", "disconnect", "disconnect", "rm"),
    ]


@pytest.mark.parametrize("step", ["create", "connect", "disconnect"])
def test_failed_isolation_is_cleared(engine, isolated, step):
    """Networks that a container still has are not connected again."""
    before = json.loads(json.dumps(engine.attached))
    engine.fail = ("docker", "network", step)
    with pytest.raises(StackError, match="it failed") as raised, isolated:
        pytest.fail("not reached")
    assert not hasattr(raised.value, "__notes__")
    assert (engine.attached, engine.created) == (before, set())


def test_isolation_is_cleared_without_client(engine, isolated):
    """A client that was removed meanwhile has left the private network."""
    with isolated:
        del engine.attached["web"]
    assert list(engine.attached["redis"]) == ["front", "back"]
    assert engine.created == set()


def test_second_isolation_is_error(engine):
    """The first one can still be undone."""
    stack = ComposeStack([], "project")
    before = json.loads(json.dumps(engine.attached))
    stack.isolate("redis", with_clients=["web"])
    with pytest.raises(StackError, match="redis is isolated already"):
        stack.isolate("redis")
    stack.reconnect("redis")
    assert (engine.attached, engine.created) == (before, set())


def test_isolations_without_clients_create_no_network(engine):
    """It is a partition."""
    isolations = isolation.Isolations("project")
    isolations.isolate("redis", ["redis"], {})
    assert (engine.attached["redis"], engine.created) == ({}, set())
