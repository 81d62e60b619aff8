"""Load generator: clients that hit one counter concurrently, each on a keep-alive connection."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Container, Sequence
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit
from uuid import uuid4

from .history import History, Result

#: Seconds that a client waits for a response.
REQUEST_TIMEOUT = 5.0

#: Maximum delay in seconds before the next attempt, after a hit that was not acknowledged.
MAX_RETRY_DELAY = 0.1

#: One in this many requests is a read. One in this many acknowledged hits with a key is repeated.
RARELY = 50

#: Statuses of a service or load balancer during an outage. Any other error is a bug.
OUTAGE_STATUSES = (502, 503, 504)


class LoadGenerator:
    """The clients of one counter, and the history of their operations.

    :param url: the service's URL, which must be the same after each fault.
    :param counter: the counter's name.
    :param clients: the numbers of the clients in the history.
    :param with_idempotency_key: the clients that send an ``Idempotency-Key`` with each hit, and
        repeat the hit with the same key until it is acknowledged. The others never repeat a hit.
    """

    def __init__(
        self,
        url: str,
        counter: str,
        clients: Sequence[int],
        *,
        with_idempotency_key: Container[int],
    ) -> None:
        self.counter = counter
        self.clients = clients
        self.history: History = History()
        self._url = urlsplit(url)
        self._with_idempotency_key = with_idempotency_key
        self._finishing = threading.Event()
        self._stopped = threading.Event()

    @property
    def acknowledged_attempts(self) -> int:
        """The number of attempts that were acknowledged so far."""
        return self.history.count("counted")

    @property
    def failed_attempts(self) -> int:
        """The number of attempts so far that were not counted, or got no response."""
        return self.history.count("not_counted") + self.history.count("unknown")

    def finish(self) -> None:
        """Start no new hits; clients with a key retry until their last hit is acknowledged."""
        self._finishing.set()

    def stop(self) -> None:
        """Start no new hits, and abandon those that are not acknowledged."""
        self._finishing.set()
        self._stopped.set()

    def run_client(self, client: int, seed: int) -> None:
        """Run a client until :meth:`finish` or :meth:`stop` is called.

        :param client: one of :attr:`clients`.
        :param seed: seed of the client's random numbers.
        :raises AssertionError: the service gave a response that its API does not allow.
        """
        rng = random.Random(f"{seed} {client}")  # noqa: S311  # no secret
        connection = HTTPConnection(
            str(self._url.hostname), self._url.port, timeout=REQUEST_TIMEOUT
        )
        with closing(connection):
            while not self._finishing.is_set():
                if rng.randrange(RARELY):
                    self._hit(connection, client, rng)
                else:
                    with self.history.read(client) as result:
                        _request(connection, "GET", f"/counters/{self.counter}", {}, result)

    def _hit(self, connection: HTTPConnection, client: int, rng: random.Random) -> None:
        key = str(uuid4()) if client in self._with_idempotency_key else None
        while not self._attempt(connection, client, key):
            if self._stopped.wait(rng.uniform(0, MAX_RETRY_DELAY)) or key is None:
                return
        if key is not None and not rng.randrange(RARELY):
            self._attempt(connection, client, key)

    def _attempt(self, connection: HTTPConnection, client: int, key: str | None) -> bool:
        headers = {} if key is None else {"Idempotency-Key": f'"{key}"'}
        with self.history.hit(client, idempotency_key=key) as result:
            _request(connection, "POST", f"/counters/{self.counter}/hits", headers, result)
        return result.value is not None


def _request(
    connection: HTTPConnection, method: str, path: str, headers: dict[str, str], result: Result
) -> None:
    """Send a request and store its result."""
    try:
        connection.request(method, path, headers=headers)
        with connection.getresponse() as response:
            body = response.read()
    except (OSError, HTTPException) as error:
        connection.close()
        result.not_counted = isinstance(error, ConnectionRefusedError)  # nothing was sent
        return
    document = {}
    with suppress(ValueError):  # the error page of a proxy
        document = json.loads(body)
    if response.status == 200:
        result.value = document["value"]
    elif response.status in OUTAGE_STATUSES:
        result.not_counted = document.get("counted") is False
    elif method == "GET" and response.status == 404:
        result.value = 0
    else:
        raise AssertionError(f"{method} {path} returned {response.status}: {body!r:.500}")
