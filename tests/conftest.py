"""Options of the whole test run."""

import os

import pytest

pytest_plugins = ["flask_redis_counter.testing.plugin", "pytester"]


#: What all tests ask is here, whatever proxy and passwords their environment has for elsewhere.
LOCAL = "127.0.0.1,localhost"


def pytest_configure() -> None:
    """Let requests, urllib and the programs that tests start ask what is here without a proxy."""
    elsewhere = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    os.environ["no_proxy"] = f"{elsewhere},{LOCAL}" if elsewhere else LOCAL
    os.environ["NETRC"] = os.devnull


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the caller choose what the scenarios run on, and how much chaos and fuzzing there is."""
    parser.addoption(
        "--stack",
        choices=("auto", "compose", "process"),
        default="auto",
        help="what the end-to-end scenarios run on: the Compose stack, real processes, "
        "or Compose where a Docker Engine answers (auto)",
    )
    parser.addoption(
        "--image",
        action="append",
        help="run the integration tests on the server of this image; may be given several times",
    )
    parser.addoption(
        "--servers",
        choices=("all", "first", "last"),
        default="all",
        help="run the integration tests on each server that is here, or on one of them alone (all)",
    )
    parser.addoption(
        "--store",
        choices=("redis", "valkey"),
        default="redis",
        help="what the Compose stack keeps its counts in",
    )
    parser.addoption(
        "--minutes",
        type=float,
        default=1.0,
        help="how long the chaos lasts, 0 to 1440; each kind of fault comes at least once (1)",
    )
    parser.addoption(
        "--max-pause",
        type=float,
        default=4.0,
        help="how many seconds of calm there are after each fault of the chaos at the most (4)",
    )
    parser.addoption(
        "--examples",
        type=int,
        default=100,
        help="how many requests the fuzzing makes up for each operation and test (100)",
    )
