"""How the containers are confined, and that nothing of them stays."""

import json

import pytest
import requests

from flask_redis_counter.testing import ComposeStack, StackError
from flask_redis_counter.testing.stacks.docker import run_docker
from flask_redis_counter.testing.stacks.project import make_project_name

from .conftest import FILES

pytestmark = pytest.mark.compose


@pytest.mark.parametrize("service", ["web", "redis"])
def test_a_container_is_confined(stack, service):
    """No root, no capability, no new privilege, nothing to write to but its data, and limits."""
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


def test_the_store_is_published_to_nobody(stack):
    """Redis has no port on the host and sits on a network without a way out."""
    (container,) = stack.containers("redis")
    known = stack.inspect(container)
    assert not known["HostConfig"]["PortBindings"]
    assert all(not published for published in known["NetworkSettings"]["Ports"].values())
    (network,) = known["NetworkSettings"]["Networks"]
    assert network.endswith("_store")
    assert json.loads(run_docker("docker", "network", "inspect", network))[0]["Internal"] is True


def test_a_hit_is_on_the_disk_before_it_is_acknowledged(stack):
    """Not `everysec`, which loses hits on SIGKILL while an earlier sync is under way."""
    said = stack.run_redis_command("redis", "CONFIG", "GET", "append*").split()
    assert said[said.index("appendfsync") + 1] == "always"
    assert said[said.index("appendonly") + 1] == "yes"


def test_the_web_service_listens_on_port_5000(stack):
    """The container listens on 0.0.0.0:5000, whatever port the host has for it."""
    (container,) = stack.containers("web")
    assert "5000/tcp" in stack.inspect(container)["NetworkSettings"]["Ports"]
    assert requests.get(stack.url(), timeout=5).status_code == 200


def test_nothing_is_left_after_a_run(new_stack):
    """A stack that was up leaves no container, network or volume."""
    with new_stack() as stack:
        assert stack.leftovers() != []
    assert stack.leftovers() == []


def test_nothing_is_left_after_a_failed_start(image, tmp_path):
    """A stack that does not come up is removed as well; the error has its state and its log."""
    broken = tmp_path / "broken.yml"
    broken.write_text("services:\n  redis:\n    command: [redis-server, --no-such-option]\n")
    stack = ComposeStack([*FILES, str(broken)], make_project_name("counter"))
    with pytest.raises(StackError, match=r"unhealthy|exited"), stack:
        pass
    assert stack.leftovers() == []
