"""A proxy that drops replies."""

import socket
import threading
from contextlib import suppress


class LossyProxy:
    """Forwards to a server, and drops replies on request.

    :param port: the server's, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._backend = port
        self._losses = 0
        self._holds = False
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.lost = 0
        self.port: int = self._listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self, replies: int, *, hold: bool) -> None:
        """Drop the next replies to scripts and INCR; hold the connections, or close them."""
        self._holds = hold
        self._losses = replies

    def close(self) -> None:
        """Close the listener and all connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                backend = socket.create_connection(("127.0.0.1", self._backend))
                with self._lock:
                    self._open += [client, backend]
                counts = threading.Event()
                for work in (self._requests, self._replies):
                    pair = (client, backend, counts)
                    threading.Thread(target=work, args=pair, daemon=True).start()

    def _requests(
        self, client: socket.socket, backend: socket.socket, counts: threading.Event
    ) -> None:
        with backend, suppress(OSError):
            while data := client.recv(65536):
                if b"EVALSHA" in data or b"INCR" in data:
                    counts.set()
                backend.sendall(data)

    def _replies(
        self, client: socket.socket, backend: socket.socket, counts: threading.Event
    ) -> None:
        with client, suppress(OSError):
            while data := backend.recv(65536):
                if counts.is_set() and self._drop():
                    if not self._holds:
                        break
                    continue
                counts.clear()
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)  # closing would wait for the other thread's recv

    def _drop(self) -> bool:
        with self._lock:
            if self._losses == 0:
                return False
            self._losses -= 1
            self.lost += 1
            return True
