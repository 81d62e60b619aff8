"""The production server: Granian, with the settings that counting wants."""

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

from ..errors import ConfigurationError, CounterError
from .json_logging import json_formatter

if TYPE_CHECKING:
    from .rsgi.app import RSGIApp

#: Seconds that requests in flight may take when the server stops.
SHUTDOWN_TIMEOUT = 5

#: Bytes that a request's line and headers may take, about, and those of unsent responses that are
#: buffered for a connection: Granian would take megabytes.
MAX_HEADER_BYTES = 32 * 1024

#: How many connections may wait to be taken.
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

    :param listeners: how many requests of a worker may go on for long.
    :param log_json: whether the server's own log is JSON, as the service's.
    :param started: called once the port is ours.
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
        # What Granian takes at once by itself, and those who only listen.
        backpressure=BACKLOG // workers + listeners,
        log_level=LogLevels.warning,
        log_dictconfig=_granians_log() if log_json else None,
        respawn_failed_workers=True,
        workers_kill_timeout=SHUTDOWN_TIMEOUT,
    )
    hangs_up = signal.getsignal(signal.SIGHUP)
    server.on_startup(lambda: _stop_on_sighup(hangs_up))
    server.on_startup(started)
    _unblock_sigterm_in_workers()
    server.serve(target_loader=_load_app, wrap_loader=False)


def _granians_log() -> dict[str, Any]:
    return {"formatters": {name: {"()": json_formatter} for name in ("generic", "access")}}


def check_installed() -> None:
    """Make sure that Granian is there.

    :raises ConfigurationError: it is not.
    """
    if find_spec("granian") is None:
        raise ConfigurationError(
            "serve",
            "the production server is not installed: "
            "pip install 'flask-redis-counter[server,embedded]'",
        )


def _check_address(host: str, port: int) -> None:
    # Granian's sockets share a port with anybody's (SO_REUSEPORT): a second server would take
    # half of the first one's requests, in silence.
    try:
        for family, kind, _, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        reason = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise CounterError(f"cannot listen on {host}:{port}: {reason}") from error


def _stop_on_sighup(before: Any) -> None:
    # Granian would begin anew, and hold the port and the embedded store's folder for nobody.
    ends = before != signal.SIG_IGN  # nohup wants it to stay
    signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM) if ends else signal.SIG_IGN)


def _unblock_sigterm_in_workers() -> None:
    # The handler that is forked along belongs to the parent, and would swallow the signal until
    # the worker has its own: the parent would wait for GRACE, and then kill it. The signal is held
    # back from before the fork until its default action, to end the worker, is there again.
    own = {signal.SIGTERM}

    def in_child() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, own)

    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, own),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, own),
        after_in_child=in_child,
    )


def _load_app() -> Any:
    from .app import create_app
    from .rsgi.app import RSGIApp

    # Ctrl-C reaches a terminal's whole process group. The parent answers it with SIGTERM to
    # its workers, and a Granian worker that gets both at once may hang.
    # SIGTERM is held back until the loop runs: before that, uvloop's handler swallows it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    front = RSGIApp(create_app())

    class Worker:
        """The front, which lets SIGTERM through once the loop runs."""

        __rsgi__ = staticmethod(front.__rsgi__)

        @staticmethod
        def __rsgi_init__(loop: asyncio.AbstractEventLoop) -> None:
            loop.add_signal_handler(signal.SIGTERM, _end, front)
            loop.call_soon(signal.pthread_sigmask, signal.SIG_UNBLOCK, {signal.SIGTERM})

    return Worker


def _end(front: RSGIApp) -> None:
    # Granian waits for all streams, and no one tells them. Its own handler for SIGTERM has made
    # way for this one; that for SIGINT does the same, and is let through once.
    try:
        front.end_streams()
    finally:
        os.kill(os.getpid(), signal.SIGINT)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _stop_with_parent() -> None:
    # A parent that was killed cannot tell its workers; without this they would serve on.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        # A worker that was still starting had no handler for that yet.
        time.sleep(SHUTDOWN_TIMEOUT)
        os._exit(1)
