"""One worker process of the production server."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from functools import partial

import uvloop
from flask import Flask

from ...extension.state import EXTENSION_KEY, ExtensionState
from ..app import create_app
from ..http.connection import HTTPConnection
from ..http.connection_table import ConnectionTable
from .acceptor import Acceptor
from .application import ServiceApplication
from .supervisor import SHUTDOWN_TIMEOUT
from .tls import silence_malformed_names
from .watchdog import Watchdog

#: Seconds after which unacknowledged bytes, or unanswered probes of a silent connection, mean that
#: the network to the client is gone.
NETWORK_TIMEOUT = 15

#: Open files of a worker besides its clients: connections to the store, the spool, the log.
RESERVED_FILES = 100

#: Seconds after which a thread that computes gives the interpreter's lock to another one. The event
#: loop asks for the lock at each of its events.
SWITCH_INTERVAL = 0.001

#: New objects after which the youngest garbage is collected: the objects of a batch refer to each
#: other. With Python's default, 700, the collector runs after every second batch.
GARBAGE_THRESHOLD = 10_000

#: Bytes that the kernel receives for a connection ahead of the worker; it doubles the value. So one
#: read of a connection whose client sends many requests at once is small.
RECEIVE_BUFFER = 16 * 1024

#: Bytes not sent yet that the kernel takes for a connection. Further ones stay in the worker, which
#: counts them; by default the kernel takes up to 4 MB from each connection that does not read.
SEND_BUFFER = 16 * 1024

_log = logging.getLogger(__name__)


def run_worker(
    listeners: Sequence[socket.socket],
    ready: Callable[[], None],
    *,
    tls: ssl.SSLContext | None = None,
    on_check: Callable[[], object] | None = None,
) -> None:
    """Serve until SIGTERM, then finish the requests in flight.

    The app's settings come from the environment.

    :param listeners: listening sockets, which are closed at the end.
    :param ready: called when requests are answered.
    :param tls: encrypts the connections; None: none is encrypted.
    :param on_check: called once a second, in the event loop.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    # uvloop warns of each response to a TLS client that has gone: clients could flood the log.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    app = create_app()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(app, listeners, ready, tls, on_check))


async def _serve(
    app: Flask,
    listeners: Sequence[socket.socket],
    ready: Callable[[], None],
    tls: ssl.SSLContext | None,
    on_check: Callable[[], object] | None,
) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    state: ExtensionState = app.extensions[EXTENSION_KEY]
    table = ConnectionTable(loop, _max_connections(state.config.max_connections))
    if tls is not None:
        silence_malformed_names()
    if on_check is not None:
        table.call_on_check(on_check)
    table.start()
    application = ServiceApplication(app)
    for listener in listeners:
        _set_options(listener)
    acceptor = Acceptor(listeners, partial(HTTPConnection, table, application), table, tls)
    gc.collect()
    gc.freeze()  # modules and settings, which stay, are not examined again
    gc.set_threshold(GARBAGE_THRESHOLD)
    Watchdog(table).start()
    ready()
    await stopping.wait()
    acceptor.close()
    application.end_streams()
    await table.drain(SHUTDOWN_TIMEOUT)
    await application.aclose()


def _set_options(listener: socket.socket) -> None:
    """Set the options that accepted connections inherit from their listener."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    if listener.family != socket.AF_UNIX:
        _detect_lost_networks(listener)
        if (option := getattr(socket, "TCP_NOTSENT_LOWAT", None)) is not None:
            listener.setsockopt(socket.IPPROTO_TCP, option, SEND_BUFFER)


def _detect_lost_networks(listener: socket.socket) -> None:
    """Let the kernel end accepted connections whose network is gone."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Linux has these options; other systems have some of them.
    for name, value in (
        ("TCP_KEEPIDLE", NETWORK_TIMEOUT),
        ("TCP_KEEPINTVL", NETWORK_TIMEOUT // 3),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", NETWORK_TIMEOUT * 1000),
    ):
        if (option := getattr(socket, name, None)) is not None:
            listener.setsockopt(socket.IPPROTO_TCP, option, value)


def _max_connections(configured: int) -> int:
    """Return the maximum number of connections; raise the limit of open files, if possible."""
    wanted = configured + RESERVED_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        _log.warning(
            "the limit of %d open files allows %d connections and not %d: raise it (ulimit -n)",
            hard,
            allowed - RESERVED_FILES,
            configured,
        )
    return allowed - RESERVED_FILES
