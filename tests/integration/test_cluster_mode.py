"""A server in cluster mode, which is not supported."""

import pytest
import redis

from flask_redis_counter import RedisCounter
from flask_redis_counter.errors import StoreRejectedError
from flask_redis_counter.testing import wait_until
from flask_redis_counter.testing.stacks.process import free_port

from .support import KEY


@pytest.fixture
def cluster(start_server):
    """A client of a cluster of one server, and its URL."""
    server = start_server("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        # Any reply except CLUSTERDOWN.
        wait_until(lambda: client.get("a") is None, what="the cluster")
        yield client, server.url


def test_hit_on_a_cluster_is_rejected(cluster):
    """hit and check_ready raise an error that names Redis Cluster, and nothing is counted."""
    client, url = cluster
    with RedisCounter(url, timeout=10) as counter:
        with pytest.raises(StoreRejectedError, match="Redis Cluster is not supported") as caught:
            counter.hit("visits")
        assert caught.value.outcome == "not_counted"
        assert client.get(KEY) is None
        with pytest.raises(StoreRejectedError, match="Redis Cluster is not supported"):
            counter.check_ready()
    assert client.dbsize() == 0
