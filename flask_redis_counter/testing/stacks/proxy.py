"""A TCP proxy that does what networks do: it delays, chokes, resets, goes silent, loses replies.

It needs nothing but the standard library, and so runs as a script as well, in a container of
its own with any Python from 3.11 on::

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

#: What can be wrong with the network. ``slow``: each packet arrives some seconds later.
#: ``choked``: so many bytes a second get through, in each direction of a connection. ``reset``:
#: connections are reset, new ones as well. ``half_open``: those that are open go silent, as when
#: the peer lost its power; new ones work. ``replies_lost``: requests arrive, answers do not; those
#: to :data:`HANDSHAKE` on a new connection do, or its client would never send a command.
#: ``cut``: nothing gets through; what was sent arrives afterwards.
NetworkFault: TypeAlias = Literal["slow", "choked", "reset", "half_open", "replies_lost", "cut"]

#: The port that the script is told on what is wrong, by default.
CONTROL_PORT = 6380

#: Seconds that the script may take from its start until it can be told something.
_STARTS_WITHIN = 5.0

_CHUNK = 65536

#: The commands that clients of Redis send on a new connection before any other. They change no
#: data; INFO is what some clients wait for until the server is ready.
HANDSHAKE = frozenset({b"HELLO", b"AUTH", b"SELECT", b"CLIENT", b"INFO"})

#: The beginning of a command in Redis' protocol, up to its name.
_COMMAND = re.compile(rb"\*(\d{1,4})\r\n\$\d{1,4}\r\n([^\r\n]+)\r\n")

#: Bytes up to the end of a command's name, at the most.
_LONGEST_NAME = 64

#: One more argument.
_ARGUMENT = re.compile(rb"\$(\d{1,8})\r\n")


class ProxyControl(Protocol):
    """What decides what a proxy does."""

    def trouble(self, kind: NetworkFault, amount: float = 0.0) -> None:
        """Let something be wrong from now on; it is so when this returns.

        :param amount: ``slow``: seconds; ``choked``: bytes a second.
        """

    def heal(self) -> None:
        """Let nothing be wrong any more; connections that lost something are reset."""


class Proxy:
    """Forwards connections to the next backend that accepts them.

    :param backends: ``host:port``, or the ports on 127.0.0.1, taken in turn.
    :param host: the address to listen on.
    :param port: the port to listen on; 0: a free one.
    :ivar port: where it listens.
    """

    def __init__(
        self, backends: Sequence[int | str], *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.backends = [_address(backend) for backend in backends]
        self._turn = itertools.count()
        self._trouble: NetworkFault | None = None
        self._amount = 0.0
        self._links: set[_Link] = set()
        self._listener = socket.create_server((host, port), family=socket.AF_INET)
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._whole = asyncio.Event()
        self._whole.set()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def trouble(self, kind: NetworkFault, amount: float = 0.0) -> None:
        """Let something be wrong from now on.

        :raises ValueError: the kind is none, or the amount does not make sense.
        """
        if kind not in get_args(NetworkFault):
            raise ValueError(f"{kind!r} is none of {', '.join(get_args(NetworkFault))}")
        if kind in ("slow", "choked") and not 0 < amount < math.inf:
            raise ValueError(f"{kind} by {amount!r}: use a positive number")
        self._do(kind, amount)

    def heal(self) -> None:
        """Let everything through again, what was held back included."""
        self._do(None, 0.0)

    def cut(self) -> None:
        """Let nothing through any more; connections stay open and silent."""
        self.trouble("cut")

    def close(self) -> None:
        """Accept no more connections, and close those that are open."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _do(self, kind: NetworkFault | None, amount: float) -> None:
        done = threading.Event()

        def change() -> None:
            self._trouble, self._amount = kind, amount
            if kind == "cut":
                self._whole.clear()
            else:
                self._whole.set()
            for link in list(self._links):
                if kind == "reset" or (kind is None and link.damaged):
                    link.reset()
                elif kind == "half_open":
                    link.silent = link.damaged = True
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
        for link in list(self._links):
            link.reset()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._whole.wait()
        link = _Link(writer)
        self._links.add(link)
        try:
            if self._trouble == "reset":
                link.reset()
                return
            for _ in self.backends:
                host, port = self.backends[next(self._turn) % len(self.backends)]
                with suppress(OSError):
                    server, to_server = await asyncio.open_connection(host, port)
                    break
            else:
                return
            link.writers.append(to_server)
            requests = asyncio.create_task(self._forward(link, reader, to_server, replies=False))
            replies = asyncio.create_task(self._forward(link, server, writer, replies=True))
            try:
                await asyncio.wait({requests, replies}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                requests.cancel()
                replies.cancel()
        finally:
            self._links.discard(link)
            link.close()

    async def _forward(
        self,
        link: _Link,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        *,
        replies: bool,
    ) -> None:
        with suppress(OSError):
            while data := await source.read(_CHUNK):
                if not replies:
                    link.handshake.feed(data)
                await self._whole.wait()
                if self._trouble == "slow":
                    await asyncio.sleep(self._amount)
                elif self._trouble == "choked":
                    await self._squeeze(data, target)
                    continue
                elif self._trouble == "replies_lost" and replies and link.handshake.over:
                    link.damaged = True
                    continue
                if link.silent:
                    continue
                target.write(data)
                await target.drain()
            while link.damaged:  # its end does not arrive, either
                await asyncio.sleep(0.1)

    async def _squeeze(self, data: bytes, target: asyncio.StreamWriter) -> None:
        """Write byte for byte, or as many at once as a hundredth of a second lets through."""
        while data:
            rate = self._amount if self._trouble == "choked" else math.inf
            piece = data[: max(1, int(min(rate / 100, _CHUNK)))]
            data = data[len(piece) :]
            await asyncio.sleep(len(piece) / rate)
            target.write(piece)
            await target.drain()


class _Handshake:
    """What a client sends before its first command, in Redis' protocol; in others it is nothing.

    :ivar over: whether something else was sent.
    """

    def __init__(self) -> None:
        self.over = False
        self._unread = b""

    def feed(self, data: bytes) -> None:
        """Read what was sent next."""
        if self.over:
            return
        self._unread += data
        while not self.over and (end := self._command_end()):
            self._unread = self._unread[end:]

    def _command_end(self) -> int:
        """Return where the first command ends; 0: more has to come, or it is none of these."""
        command = _COMMAND.match(self._unread)
        if command is None:  # the rest of its name has to come: until then there is no reply
            self.over = self._unread[:1] not in b"*" or len(self._unread) > _LONGEST_NAME
            return 0
        if command[2].upper() not in HANDSHAKE:
            self.over = True
            return 0
        end = command.end()
        for _ in range(int(command[1]) - 1):
            argument = _ARGUMENT.match(self._unread, end)
            if argument is None:
                return 0
            end = argument.end() + int(argument[1]) + 2
        return end if end <= len(self._unread) else 0


class _Link:
    """One connection through the proxy.

    :ivar handshake: what its client has sent of the handshake.
    :ivar silent: whether nothing gets through, without an end in sight.
    :ivar damaged: whether its peers no longer agree on what was sent.
    """

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writers = [writer]
        self.handshake = _Handshake()
        self.silent = False
        self.damaged = False

    def reset(self) -> None:
        """End it with a reset, on both sides."""
        for writer in self.writers:
            with suppress(OSError):
                linger = struct.pack("ii", 1, 0)  # no lingering: RST in place of FIN
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
            writer.transport.abort()

    def close(self) -> None:
        """End it."""
        for writer in self.writers:
            writer.close()


class RemoteProxy:
    """A proxy that runs elsewhere, as a script.

    :param host: where it is told what is wrong.
    :param port: the same.
    """

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port

    def trouble(self, kind: NetworkFault, amount: float = 0.0) -> None:
        """Let something be wrong from now on; raises what :meth:`Proxy.trouble` does.

        :raises OSError: it does not answer.
        """
        self._tell(f"{kind} {amount!r}")

    def heal(self) -> None:
        """Let nothing be wrong any more."""
        self._tell("heal 0")

    def _tell(self, line: str) -> None:
        ends = time.monotonic() + _STARTS_WITHIN
        while True:
            try:
                said = self._ask(line)
                break
            except OSError:  # it has just been started, and does not listen yet
                if time.monotonic() > ends:
                    raise
                time.sleep(0.05)
        if said != "ok":
            raise ValueError(said)

    def _ask(self, line: str) -> str:
        with (
            socket.create_connection(self._address, timeout=5) as connection,
            connection.makefile("rw") as stream,
        ):
            print(line, file=stream, flush=True)
            if not (said := stream.readline().strip()):
                raise ConnectionError("the proxy gave no answer")
        return said


def _address(backend: int | str) -> tuple[str, int]:
    host, _, port = str(backend).rpartition(":")
    return host or "127.0.0.1", int(port)


def _read_commands(proxy: Proxy, listener: socket.socket) -> None:
    """Do what each line of each connection says, one connection after the other."""
    while True:
        connection, _ = listener.accept()
        with connection, suppress(OSError), connection.makefile("rw") as stream:
            for line in stream:
                said = "ok"
                try:
                    kind, amount = line.split()
                    if kind == "heal":
                        proxy.heal()
                    else:
                        proxy.trouble(kind, float(amount))  # type: ignore[arg-type]
                except ValueError as error:
                    said = str(error)
                print(said, file=stream, flush=True)


def main() -> None:
    """Forward, and do what the control port is told, until SIGTERM comes."""
    parser = argparse.ArgumentParser(description="A TCP proxy that does what networks do.")
    parser.add_argument("backends", nargs="+", help="host:port, taken in turn")
    parser.add_argument("--listen", type=int, required=True, help="the port to forward from")
    parser.add_argument("--control", type=int, default=CONTROL_PORT, help="the port to be told on")
    options = parser.parse_args()
    # A container's first process is not ended by a signal that it does not handle.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    proxy = Proxy(options.backends, host="0.0.0.0", port=options.listen)  # noqa: S104  # a container's
    _read_commands(proxy, socket.create_server(("0.0.0.0", options.control)))  # noqa: S104


if __name__ == "__main__":
    main()
