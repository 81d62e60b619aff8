"""The production server: worker processes on TCP ports or on a Unix socket, with TLS or without."""

from __future__ import annotations

import gc
import logging
import socket
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from flask.logging import default_handler, has_level_handler

from ...errors import ConfigurationError
from ..json_logging import PACKAGE_LOGGER
from .listeners import listen_tcp, listen_unix
from .supervisor import Supervisor
from .tls import TLSCertificate

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


def serve(
    *,
    host: str,
    port: int,
    unix: Path | None = None,
    workers: int,
    tls: TLSCertificate | None = None,
    started: Callable[[], None],
) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP, then finish the requests in flight.

    The app's settings come from the environment. A worker that dies is replaced.

    :param unix: path of a Unix socket, in place of host and port.
    :param workers: number of processes.
    :param tls: encrypts the connections; None: none is encrypted.
    :param started: called once requests are answered.
    :raises CounterError: the address cannot be bound, or no worker can start.
    """
    # After check_installed. The workers share the memory of the modules that are imported here.
    from .worker import run_worker

    if not has_level_handler(PACKAGE_LOGGER):
        PACKAGE_LOGGER.addHandler(default_handler)
    logging.getLogger(__package__).setLevel(logging.INFO)

    def run_tls_worker(sockets: list[socket.socket], ready: Callable[[], None]) -> None:
        assert tls is not None  # noqa: S101  # for mypy
        tls.reload_if_changed()  # the parent loaded it when the server started
        run_worker(sockets, ready, tls=tls.context, on_check=tls.reload_if_changed)

    gc.collect()
    gc.freeze()  # the collector of a worker does not write to the memory that it shares
    listeners = listen_tcp(host, port, workers) if unix is None else listen_unix(unix, workers)
    Supervisor(listeners, run_worker if tls is None else run_tls_worker).run(started)
