"""Options and environment of the whole test run."""

import os
from contextlib import suppress

import pytest

pytest_plugins = ["flask_redis_counter.testing.plugin", "pytester"]


#: Hosts that tests connect to without a proxy.
LOCAL = "127.0.0.1,localhost"


def pytest_configure(config: pytest.Config) -> None:
    """Exclude local hosts from the environment's proxies, and disable ``.netrc``.

    Examples of hypothesis have no time limit: its 200 ms pass early on a busy machine.
    """
    # Not every session installs hypothesis; tools.mutant has a profile of its own.
    with suppress(ImportError):
        from hypothesis import settings

        if not config.pluginmanager.hasplugin("tools.mutant"):
            settings.register_profile("no-deadline", deadline=None)
            settings.load_profile("no-deadline")
    no_proxy = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    os.environ["no_proxy"] = f"{no_proxy},{LOCAL}" if no_proxy else LOCAL
    os.environ["NETRC"] = os.devnull


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options for the stack, the servers, the chaos test and fuzzing."""
    parser.addoption(
        "--stack",
        choices=("auto", "compose", "process"),
        default="auto",
        help="stack of the end-to-end tests: compose, process, or auto: compose if a Docker Engine "
        "responds (%(default)s)",
    )
    parser.addoption(
        "--image",
        action="append",
        help="run the integration tests on this server image; may be repeated",
    )
    parser.addoption(
        "--servers",
        choices=("all", "first", "last"),
        default="all",
        help="servers for the integration tests: all that are installed, or one; first: without "
        "the tests of HTTP and of commands (%(default)s)",
    )
    parser.addoption(
        "--store",
        choices=("redis", "valkey"),
        default="redis",
        help="store of the Compose stack (%(default)s)",
    )
    parser.addoption(
        "--minutes",
        type=float,
        default=0.5,
        help="duration of the chaos test, 0 to 1440; each kind of fault occurs at least once "
        "(%(default)s)",
    )
    parser.addoption(
        "--max-pause",
        type=float,
        default=4.0,
        help="maximum seconds between two faults of the chaos test (%(default)s)",
    )
    parser.addoption(
        "--examples",
        type=int,
        default=100,
        help="requests that fuzzing generates for each operation and test (%(default)s)",
    )
