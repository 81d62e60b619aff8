"""What is a visit, whose it is, and which host it is for: by its headers, on real stores."""

import pytest

from .support import contents, problem

HITS = [("GET", "/count"), ("POST", "/count"), ("POST", "/counters/visits/hits")]


@pytest.fixture
def service(server, client, client_of):
    """Make clients of the service with further settings, on an empty store."""

    def make(**config):
        return client_of(REDIS_URL=server.url, COUNTER_DEADLINE=10, **config)

    return make


HOSTS = "example.org, .Example.NET"


@pytest.mark.parametrize(
    "host", ["example.org", "example.org:5000", "EXAMPLE.org", "example.net", "a.b.example.net"]
)
def test_a_host_that_is_ours(service, client, host):
    """With any port, in any case."""
    web = service(COUNTER_HOSTS=HOSTS)
    assert web.get("/count", headers={"Host": host}).json["value"] == 1


@pytest.mark.parametrize(
    "host", ["evil.example", "a.example.org", "example.org.evil.example", "xexample.net", "",
             "example.org@evil.example", "localhost", "example.org,evil.example"],
)  # fmt: skip
@pytest.mark.parametrize(("method", "path"), [*HITS, ("GET", "/counters/visits"), ("GET", "/")])
def test_a_host_that_is_not_ours(service, client, method, path, host):
    """400, on every route that answers about counters, and nothing counted."""
    web = service(COUNTER_HOSTS=HOSTS)
    answer = web.open(path, method=method, headers={"Host": host})
    assert "Host" in problem(answer, 400)["detail"]
    assert contents(client) == {}


def test_health_is_for_any_host(service):
    """A load balancer asks by address."""
    web = service(COUNTER_HOSTS=HOSTS)
    assert web.get("/readyz", headers={"Host": "10.0.0.1:5000"}).status_code == 200
