"""Pools of the nodes of a cluster."""

from types import SimpleNamespace

from flask_redis_counter.store.cluster_pool import take_former

ONE, TWO, THREE = (("127.0.0.1", port) for port in (1, 2, 3))


def test_pools_of_nodes_that_have_left_are_taken():
    """Those of nodes that the cluster still has stay."""
    pools = {ONE: "one", TWO: "two", THREE: "three"}
    cluster = SimpleNamespace(nodes=lambda: [ONE, THREE])
    assert take_former(pools, cluster) == ["two"]
    assert pools == {ONE: "one", THREE: "three"}
    assert take_former(pools, cluster) == []
