"""The production server: Granian, configured for the service."""

from __future__ import annotations

import asyncio
import errno
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ...errors import ConfigurationError, CounterError
from ..json_logging import json_formatter

if TYPE_CHECKING:
    from ..rsgi.app import RSGIApp

#: Seconds that requests in flight have to finish when the server stops.
SHUTDOWN_TIMEOUT = 5

#: Approximate maximum bytes of a request's line and headers, and of unsent responses buffered for a
#: connection. Granian's defaults are megabytes.
MAX_HEADER_BYTES = 32 * 1024

#: Maximum connections that wait to be accepted.
BACKLOG = 1024


def serve(
    *,
    host: str,
    port: int,
    workers: int,
    listeners: int,
    log_json: bool,
    started: Callable[[], None],
) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP, then finish the requests in flight.

    The app's settings come from the environment. A worker that dies is replaced.

    :param listeners: maximum event streams of each worker.
    :param log_json: whether Granian's own log is JSON, too.
    :param started: called once the port is bound.
    :raises CounterError: the address cannot be bound.
    """
    from granian.constants import Interfaces, Loops
    from granian.http import HTTP1Settings, HTTP2Settings
    from granian.log import LogLevels
    from granian.server import Server

    _check_address(host, port)
    server = Server(
        "flask_redis_counter",
        address=host,
        port=port,
        backlog=BACKLOG,
        interface=Interfaces.RSGI,
        loop=Loops.uvloop,
        websockets=False,
        workers=workers,
        http1_settings=HTTP1Settings(max_buffer_size=MAX_HEADER_BYTES),
        http2_settings=HTTP2Settings(max_headers_size=MAX_HEADER_BYTES),
        # Granian's default, plus the event streams.
        backpressure=BACKLOG // workers + listeners,
        log_level=LogLevels.warning,
        log_dictconfig=_granian_log_config() if log_json else None,
        respawn_failed_workers=True,
        workers_kill_timeout=SHUTDOWN_TIMEOUT,
    )
    sighup_handler = signal.getsignal(signal.SIGHUP)
    server.on_startup(lambda: _stop_on_sighup(sighup_handler))
    server.on_startup(started)
    _unblock_sigterm_in_workers()
    server.serve(target_loader=_load_app, wrap_loader=False)


def _granian_log_config() -> dict[str, Any]:
    return {"formatters": {name: {"()": json_formatter} for name in ("generic", "access")}}


def check_installed() -> None:
    """Check that Granian is installed.

    :raises ConfigurationError: Granian is not installed.
    """
    if find_spec("granian") is None:
        raise ConfigurationError(
            "serve",
            "the production server is not installed: "
            "pip install 'flask-redis-counter[server,embedded]'",
        )


def _check_address(host: str, port: int) -> None:
    # Granian shares the port with other sockets (SO_REUSEPORT): a second server would silently take
    # half of the first one's requests.
    try:
        for family, kind, _, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        reason = (
            "it is in use; --port chooses another"
            if error.errno == errno.EADDRINUSE
            else error.strerror
        )
        raise CounterError(f"cannot listen on {host}:{port}: {reason}") from error


def _stop_on_sighup(handler: Any) -> None:
    # Granian would reload, and keep the port and the embedded store's folder after the terminal is
    # closed. nohup ignores the signal, so that the server keeps running.
    stops = handler != signal.SIG_IGN
    signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM) if stops else signal.SIG_IGN)


def _unblock_sigterm_in_workers() -> None:
    # A forked worker inherits the parent's handler, which would swallow the signal until the worker
    # installs its own: the parent would wait for SHUTDOWN_TIMEOUT, and then kill it. So the signal
    # is blocked from before the fork until its default action, to end the worker, is restored.
    signals = {signal.SIGTERM}

    def in_child() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)

    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, signals),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, signals),
        after_in_child=in_child,
    )


def _load_app() -> Any:
    from ..app import create_app
    from ..rsgi.app import RSGIApp

    # Ctrl-C reaches the terminal's whole process group. The parent then sends SIGTERM to its
    # workers, and a Granian worker that gets both signals at once may hang.
    # SIGTERM is blocked until the loop runs: before that, uvloop's handler swallows it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    rsgi_app = RSGIApp(create_app())

    class Worker:
        """The RSGI application; unblocks SIGTERM once the loop runs."""

        __rsgi__ = staticmethod(rsgi_app.__rsgi__)

        @staticmethod
        def __rsgi_init__(loop: asyncio.AbstractEventLoop) -> None:
            loop.add_signal_handler(signal.SIGTERM, _stop, rsgi_app)
            loop.call_soon(signal.pthread_sigmask, signal.SIG_UNBLOCK, {signal.SIGTERM})

    return Worker


def _stop(rsgi_app: RSGIApp) -> None:
    # Granian waits for all streams, but does not end them. This handler replaces Granian's for
    # SIGTERM; Granian's handler for SIGINT does the same, so SIGINT is unblocked once.
    try:
        rsgi_app.end_streams()
    finally:
        os.kill(os.getpid(), signal.SIGINT)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _stop_with_parent() -> None:
    # A parent that was killed cannot signal its workers; without this they would keep running.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        # A worker that was still starting had no handler for SIGTERM yet.
        time.sleep(SHUTDOWN_TIMEOUT)
        os._exit(1)
