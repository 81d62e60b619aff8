"""The containers are confined, and a run leaves nothing behind."""

import json

import pytest
import requests

from flask_redis_counter.testing import ComposeStack, StackError
from flask_redis_counter.testing.stacks.docker import run_docker
from flask_redis_counter.testing.stacks.project import make_project_name

from .conftest import FILES

pytestmark = pytest.mark.compose


@pytest.mark.parametrize("service", ["web", "redis"])
def test_container_is_confined(stack, service):
    """No root, capabilities or new privileges; only the data is writable; limits are set."""
    (container,) = stack.containers(service)
    assert stack.compose("exec", service, "id", "-u").strip() != "0"
    with pytest.raises(StackError, match="Read-only file system"):
        stack.compose("exec", service, "touch", "/var/tmp/here")  # noqa: S108
    host = stack.inspect(container)["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0


def test_store_is_not_published(stack):
    """Redis has no port on the host, and is on an internal network."""
    (container,) = stack.containers("redis")
    facts = stack.inspect(container)
    assert not facts["HostConfig"]["PortBindings"]
    assert all(not published for published in facts["NetworkSettings"]["Ports"].values())
    (network,) = facts["NetworkSettings"]["Networks"]
    assert network.endswith("_store")
    assert json.loads(run_docker("docker", "network", "inspect", network))[0]["Internal"] is True


def test_store_syncs_each_write_to_disk(stack):
    """Not `everysec`, which can lose hits on SIGKILL while an earlier sync is in progress."""
    settings = stack.run_redis_command("redis", "CONFIG", "GET", "append*").split()
    assert settings[settings.index("appendfsync") + 1] == "always"
    assert settings[settings.index("appendonly") + 1] == "yes"


def test_web_listens_on_port_5000(stack):
    """The container listens on 0.0.0.0:5000, whatever port the host publishes."""
    (container,) = stack.containers("web")
    assert "5000/tcp" in stack.inspect(container)["NetworkSettings"]["Ports"]
    assert requests.get(stack.url(), timeout=5).status_code == 200


def test_nothing_is_left_after_run(new_stack):
    """Leaving the block removes all containers, networks and volumes."""
    with new_stack() as stack:
        assert stack.leftovers() != []
    assert stack.leftovers() == []


def test_nothing_is_left_after_failed_start(image, tmp_path):
    """A stack that does not come up is removed as well; the error has its state."""
    invalid = tmp_path / "invalid.yml"
    invalid.write_text("services:\n  redis:\n    command: [redis-server, --no-such-option]\n")
    stack = ComposeStack([*FILES, str(invalid)], make_project_name("counter"))
    with pytest.raises(StackError, match=r"unhealthy|exited"), stack:
        pass
    assert stack.leftovers() == []
