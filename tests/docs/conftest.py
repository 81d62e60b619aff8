"""Fixtures of the tests of the docs."""

import pytest

from flask_redis_counter.testing import RedisServerProcess


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """A real store."""
    store = RedisServerProcess(tmp_path_factory.mktemp("store"))
    store.start()
    yield store
    store.stop()
