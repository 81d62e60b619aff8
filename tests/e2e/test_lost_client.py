"""A client whose network vanishes: no packet says that it has gone."""

import re
import socket
from collections.abc import Iterator

import pytest
import requests

from flask_redis_counter.testing import ComposeStack, Faults, wait_until
from flask_redis_counter.testing.stacks.project import make_project_name

from .conftest import BALANCER, FILES, ROOT, SCALE_FILES, WEB
from .support import read_value

pytestmark = pytest.mark.compose

#: Seconds in which a client that has gone must hold nothing any more.
TIMEOUT = 30

CLIENT_FILE = str(ROOT / "tests" / "e2e" / "docker-compose.client.yml")


@pytest.fixture(params=["web", "lb"])
def stack(request: pytest.FixtureRequest, image) -> Iterator[ComposeStack]:
    """The service alone, and behind the load balancer, with a client on its network."""
    balanced = request.param == "lb"
    files = [*FILES, *(SCALE_FILES if balanced else []), CLIENT_FILE]
    endpoint = BALANCER if balanced else WEB
    with ComposeStack(files, make_project_name("counter"), endpoint=endpoint) as up:
        yield up


def listen_briefly(stack: ComposeStack) -> int:
    """Open a stream of live events and close it; return the status."""
    with requests.get(f"{stack.url()}/live", stream=True, timeout=5) as response:
        return response.status_code


def client_address(stack: ComposeStack) -> str:
    """Return the client's address as Linux shows it in tables of sockets."""
    (container,) = stack.containers("client")
    (network,) = stack.inspect(container)["NetworkSettings"]["Networks"].values()
    return socket.inet_aton(network["IPAddress"])[::-1].hex().upper()


def test_lost_client_holds_nothing(stack: ComposeStack):
    """A listener's slot is free within 30 seconds, and so are idle and counting connections."""
    service, address = stack.endpoint.service, client_address(stack)

    def read_log() -> str:
        return stack.exec("client", "cat", "/tmp/log").output  # noqa: S108

    def connections() -> set[str]:
        # Linux may list a connection twice if the table changes meanwhile.
        table = stack.exec(service, "cat", "/proc/net/tcp").output
        remote = {row.split()[2] for row in table.splitlines()}
        return {one for one in remote if one.startswith(f"{address}:")}

    command = f"python /client.py {service} >/tmp/log 2>&1 &"
    stack.exec("client", "sh", "-c", command)
    wait_until(lambda: "open" in read_log(), what="open connections")
    assert len(connections()) == 3
    assert listen_briefly(stack) == 503
    with Faults(stack).partitioned("client"):
        wait_until(lambda: listen_briefly(stack) == 200, what="a free slot", timeout=TIMEOUT)
        wait_until(lambda: not connections(), what="closed connections", timeout=TIMEOUT)
        found = wait_until(lambda: re.search(r"acknowledged: (\d+)", read_log()), what="the count")
    assert int(found[1]) <= read_value(stack) <= int(found[1]) + 1
