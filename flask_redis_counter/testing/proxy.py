"""A TCP proxy that can be cut: the network of the process stack."""

from __future__ import annotations

import itertools
import selectors
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress


class Proxy:
    """Forwards connections to the next backend that accepts them.

    :param backends: ports on 127.0.0.1, taken in turn.
    """

    def __init__(self, backends: Sequence[int]) -> None:
        self._backends = backends
        self._turn = itertools.count()
        self._whole = threading.Event()
        self._whole.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Let nothing through any more; connections stay open and silent."""
        self._whole.clear()

    def mend(self) -> None:
        """Let everything through again, what was held back included."""
        self._whole.set()

    def close(self) -> None:
        """Accept no more connections; those that are open go on until an end closes them."""
        self.mend()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._whole.wait()
        with client, suppress(OSError):
            for _ in self._backends:
                port = self._backends[next(self._turn) % len(self._backends)]
                with suppress(ConnectionRefusedError):
                    backend = socket.create_connection(("127.0.0.1", port))
                    break
            else:
                return
            with backend:
                self._forward(client, backend)

    def _forward(self, client: socket.socket, backend: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, backend)
            selector.register(backend, selectors.EVENT_READ, client)
            while True:
                for key, _ in selector.select():
                    self._whole.wait()
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                    if not data:
                        return
                    key.data.sendall(data)
