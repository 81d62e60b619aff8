"""A TCP proxy that injects network faults: latency, bandwidth limits, resets, lost responses.

It uses only the standard library, so that it also runs as a script, in a separate container
with Python 3.11 or later::

    python proxy.py --listen 6379 --control 6380 redis:6379
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import re
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal, Protocol, TypeAlias, get_args

#: Kinds of network faults, named as in Toxiproxy where it has them.
#:
#: ``latency``: each packet is delayed by some seconds. ``bandwidth_limited``: each connection is
#: limited to some bytes a second, per direction. ``connections_reset``: open and new connections
#: are reset. ``half_open``: open connections go silent, as if the peer had lost its power; new ones
#: work. ``responses_dropped``: requests arrive, responses do not, except responses to
#: :data:`HANDSHAKE` on a new connection, without which its client would never send a command.
#: ``isolated``: no data arrives until the fault is cleared; then the data sent meanwhile arrives.
NetworkFault: TypeAlias = Literal[
    "latency",
    "bandwidth_limited",
    "connections_reset",
    "half_open",
    "responses_dropped",
    "isolated",
]

#: Default port of the script for control connections.
CONTROL_PORT = 6380

#: Seconds from the start of the script until its control port must accept connections.
_STARTUP_TIMEOUT = 5.0

_CHUNK = 65536

#: Commands that Redis clients send on a new connection before any other. They change no data;
#: some clients poll INFO until the server is ready.
HANDSHAKE = frozenset({b"HELLO", b"AUTH", b"SELECT", b"CLIENT", b"INFO"})

#: The beginning of a command in Redis' protocol, up to its name.
_COMMAND = re.compile(rb"\*(\d{1,4})\r\n\$\d{1,4}\r\n([^\r\n]+)\r\n")

#: Maximum number of bytes up to the end of a command's name.
_MAX_NAME_END = 64

#: The length of one more argument.
_ARGUMENT = re.compile(rb"\$(\d{1,8})\r\n")


class ProxyControl(Protocol):
    """Control interface of a proxy."""

    def inject(self, kind: NetworkFault, amount: float = 0.0) -> None:
        """Inject a fault in place of the current one; it is active when this returns.

        :param amount: ``latency``: seconds; ``bandwidth_limited``: bytes a second.
        """

    def clear(self) -> None:
        """Clear the current fault, and reset the connections that lost data."""


class Proxy:
    """Forwards each connection to the next backend that accepts it.

    :param backends: ``host:port``, or ports on 127.0.0.1; used in turn.
    :param host: the address to listen on.
    :param port: the port to listen on; 0: a free one.
    :ivar port: the port that it listens on.
    """

    def __init__(
        self, backends: Sequence[int | str], *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.backends: list[tuple[str, int]] = [_parse_address(backend) for backend in backends]
        self._turns = itertools.count()
        self._fault: NetworkFault | None = None
        self._amount = 0.0
        self._connections: set[_Connection] = set()
        self._listener = socket.create_server((host, port), family=socket.AF_INET)
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._passing = asyncio.Event()
        self._passing.set()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def inject(self, kind: NetworkFault, amount: float = 0.0) -> None:
        """Inject a fault in place of the current one.

        :raises ValueError: unknown kind or invalid amount.
        """
        if kind not in get_args(NetworkFault):
            kinds = ", ".join(get_args(NetworkFault))
            raise ValueError(f"unknown fault {kind!r}: use one of {kinds}")
        if kind in ("latency", "bandwidth_limited") and not 0 < amount < math.inf:
            raise ValueError(f"{kind} by {amount!r}: use a positive finite number")
        self._set_fault(kind, amount)

    def clear(self) -> None:
        """Clear the fault, and forward the data that was held back."""
        self._set_fault(None, 0.0)

    def isolate(self) -> None:
        """Forward nothing; connections stay open and silent."""
        self.inject("isolated")

    def close(self) -> None:
        """Stop accepting connections, and reset those that are open."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _set_fault(self, kind: NetworkFault | None, amount: float) -> None:
        done = threading.Event()

        def change() -> None:
            self._fault, self._amount = kind, amount
            if kind == "isolated":
                self._passing.clear()
            else:
                self._passing.set()
            for connection in list(self._connections):
                if kind == "connections_reset" or (kind is None and connection.has_lost_data):
                    connection.reset()
                elif kind == "half_open":
                    connection.is_silent = connection.has_lost_data = True
            done.set()

        self._loop.call_soon_threadsafe(change)
        done.wait()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, sock=self._listener)
        )
        self._loop.run_forever()
        server.close()
        for connection in list(self._connections):
            connection.reset()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._passing.wait()
        connection = _Connection(writer)
        self._connections.add(connection)
        try:
            if self._fault == "connections_reset":
                connection.reset()
                return
            for _ in self.backends:
                host, port = self.backends[next(self._turns) % len(self.backends)]
                with suppress(OSError):
                    server, to_server = await asyncio.open_connection(host, port)
                    break
            else:
                return
            connection.writers.append(to_server)
            forward = self._forward
            requests = asyncio.create_task(forward(connection, reader, to_server, replies=False))
            replies = asyncio.create_task(forward(connection, server, writer, replies=True))
            try:
                await asyncio.wait({requests, replies}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                requests.cancel()
                replies.cancel()
        finally:
            self._connections.discard(connection)
            connection.close()

    async def _forward(
        self,
        connection: _Connection,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        *,
        replies: bool,
    ) -> None:
        with suppress(OSError):
            while data := await source.read(_CHUNK):
                handshake = connection.handshake
                if not replies:
                    handshake.feed(data)
                await self._passing.wait()
                if self._fault == "latency":
                    await asyncio.sleep(self._amount)
                elif self._fault == "bandwidth_limited":
                    await self._write_limited(data, target)
                    continue
                elif self._fault == "responses_dropped" and replies and handshake.is_over:
                    connection.has_lost_data = True
                    continue
                if connection.is_silent:
                    continue
                target.write(data)
                await target.drain()
            while connection.has_lost_data:  # the end of the connection is lost as well
                await asyncio.sleep(0.1)

    async def _write_limited(self, data: bytes, target: asyncio.StreamWriter) -> None:
        """Write in pieces of a hundredth of a second, but at least one byte."""
        while data:
            rate = self._amount if self._fault == "bandwidth_limited" else math.inf
            piece = data[: max(1, int(min(rate / 100, _CHUNK)))]
            data = data[len(piece) :]
            await asyncio.sleep(len(piece) / rate)
            target.write(piece)
            await target.drain()


class _Handshake:
    """Parser of the commands that a Redis client sends on a new connection.

    :ivar is_over: whether the client has sent another command, or another protocol.
    """

    def __init__(self) -> None:
        self.is_over = False
        self._buffer = b""

    def feed(self, data: bytes) -> None:
        """Parse the next data of the client."""
        if self.is_over:
            return
        self._buffer += data
        while not self.is_over and (end := self._command_end()):
            self._buffer = self._buffer[end:]

    def _command_end(self) -> int:
        """Return the end of the first command; 0 if it is incomplete, or not of the handshake."""
        command = _COMMAND.match(self._buffer)
        if command is None:  # an incomplete name; there is no reply yet
            self.is_over = self._buffer[:1] not in b"*" or len(self._buffer) > _MAX_NAME_END
            return 0
        if command[2].upper() not in HANDSHAKE:
            self.is_over = True
            return 0
        end = command.end()
        for _ in range(int(command[1]) - 1):
            argument = _ARGUMENT.match(self._buffer, end)
            if argument is None:
                return 0
            end = argument.end() + int(argument[1]) + 2
        return end if end <= len(self._buffer) else 0


class _Connection:
    """One connection through the proxy.

    :ivar handshake: parser of its client's handshake.
    :ivar is_silent: whether all further data is dropped.
    :ivar has_lost_data: whether data was dropped, so that its peers are out of sync.
    """

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writers = [writer]
        self.handshake = _Handshake()
        self.is_silent = False
        self.has_lost_data = False

    def reset(self) -> None:
        """Reset it on both sides."""
        for writer in self.writers:
            with suppress(OSError):
                linger = struct.pack("ii", 1, 0)  # no lingering: RST instead of FIN
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
            writer.transport.abort()

    def close(self) -> None:
        """Close it on both sides."""
        for writer in self.writers:
            writer.close()


class RemoteProxy:
    """Client of the control port of a proxy that runs as a script.

    :param host: the host of the control port.
    :param port: the control port.
    """

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port

    def inject(self, kind: NetworkFault, amount: float = 0.0) -> None:
        """Inject a fault in place of the current one, as :meth:`Proxy.inject`.

        :raises ValueError: unknown kind or invalid amount.
        :raises OSError: the proxy does not respond.
        """
        self._send(f"{kind} {amount!r}")

    def clear(self) -> None:
        """Clear the fault.

        :raises OSError: the proxy does not respond.
        """
        self._send("clear 0")

    def _send(self, line: str) -> None:
        deadline = time.monotonic() + _STARTUP_TIMEOUT
        while True:
            try:
                reply = self._send_once(line)
                break
            except OSError:  # it was just started, and does not listen yet
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        if reply != "ok":
            raise ValueError(reply)

    def _send_once(self, line: str) -> str:
        with (
            socket.create_connection(self._address, timeout=5) as connection,
            connection.makefile("rw") as stream,
        ):
            print(line, file=stream, flush=True)
            if not (reply := stream.readline().strip()):
                raise ConnectionError("the proxy did not respond")
        return reply


def _parse_address(backend: int | str) -> tuple[str, int]:
    host, _, port = str(backend).rpartition(":")
    return host or "127.0.0.1", int(port)


def _serve_control(proxy: Proxy, listener: socket.socket) -> None:
    """Execute each line of each control connection, one connection after the other."""
    while True:
        connection, _ = listener.accept()
        with connection, suppress(OSError), connection.makefile("rw") as stream:
            for line in stream:
                reply = "ok"
                try:
                    kind, amount = line.split()
                    if kind == "clear":
                        proxy.clear()
                    else:
                        proxy.inject(kind, float(amount))  # type: ignore[arg-type]
                except ValueError as error:
                    reply = str(error)
                print(reply, file=stream, flush=True)


def main() -> None:
    """Run the proxy and its control port until SIGTERM."""
    parser = argparse.ArgumentParser(description="A TCP proxy that injects network faults.")
    parser.add_argument("backends", nargs="+", help="host:port; used in turn")
    parser.add_argument("--listen", type=int, required=True, help="port to forward from")
    parser.add_argument(
        "--control", type=int, default=CONTROL_PORT, help="control port (%(default)s)"
    )
    options = parser.parse_args()
    # The kernel ignores signals to PID 1 of a container that it does not handle.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    proxy = Proxy(options.backends, host="0.0.0.0", port=options.listen)  # noqa: S104  # a container's
    _serve_control(proxy, socket.create_server(("0.0.0.0", options.control)))  # noqa: S104


if __name__ == "__main__":
    main()
