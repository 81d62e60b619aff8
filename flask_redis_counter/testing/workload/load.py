"""Crowds: clients that count on one counter at once, each on a connection that it keeps."""

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

#: Seconds that a client waits for an answer.
REQUEST_TIMEOUT = 5.0

#: Seconds that a client waits at the most before it goes on, after it was not counted.
PAUSE = 0.1

#: One in how many requests is a read, and one in how many hits with a key is repeated though it
#: was acknowledged.
ONE_IN = 50

#: Answers of a service, or a load balancer, that is in trouble. Any other error is a mistake.
CONNECTION_ERRORS = (502, 503, 504)


class LoadGenerator:
    """The clients of one counter, and what they were told.

    :param url: where the service is reached, also after every fault.
    :param counter: the counter's name.
    :param clients: what they are called in the history.
    :param keyed: which of them send an ``Idempotency-Key`` with each hit, and repeat it under the
        same until it is acknowledged. The others never repeat a hit.
    """

    def __init__(
        self, url: str, counter: str, clients: Sequence[int], *, keyed: Container[int]
    ) -> None:
        self.counter = counter
        self.clients = clients
        self.history = History()
        self._url = urlsplit(url)
        self._keyed = keyed
        self._over = threading.Event()
        self._halted = threading.Event()

    @property
    def acknowledged(self) -> int:
        """How many attempts were acknowledged so far."""
        return self.history.count("counted")

    @property
    def disappointed(self) -> int:
        """How many attempts were refused, or got no answer, so far."""
        return self.history.count("not_counted") + self.history.count("unknown")

    def finish(self) -> None:
        """Begin no hits any more; those with a key go on until they are acknowledged."""
        self._over.set()

    def halt(self) -> None:
        """Begin nothing any more, and give up what is not acknowledged."""
        self._over.set()
        self._halted.set()

    def count(self, number: int, seed: int) -> None:
        """Be a client until the crowd is to finish.

        :param number: one of :attr:`clients`.
        :param seed: what the client's dice are made from.
        :raises AssertionError: an answer is none that the service may give.
        """
        dice = random.Random(f"{seed} {number}")  # noqa: S311  # no secret
        connection = HTTPConnection(
            str(self._url.hostname), self._url.port, timeout=REQUEST_TIMEOUT
        )
        with closing(connection):
            while not self._over.is_set():
                if dice.randrange(ONE_IN):
                    self._hit(connection, number, dice)
                else:
                    with self.history.read(number) as answer:
                        _ask(connection, "GET", f"/counters/{self.counter}", {}, answer)

    def _hit(self, connection: HTTPConnection, number: int, dice: random.Random) -> None:
        token = str(uuid4()) if number in self._keyed else None
        while not self._attempt(connection, number, token):
            if self._halted.wait(dice.uniform(0, PAUSE)) or token is None:
                return
        if token is not None and not dice.randrange(ONE_IN):
            self._attempt(connection, number, token)

    def _attempt(self, connection: HTTPConnection, number: int, token: str | None) -> bool:
        headers = {} if token is None else {"Idempotency-Key": f'"{token}"'}
        with self.history.hit(number, token=token) as answer:
            _ask(connection, "POST", f"/counters/{self.counter}/hits", headers, answer)
        return answer.value is not None


def _ask(
    connection: HTTPConnection, method: str, path: str, headers: dict[str, str], answer: Result
) -> None:
    """Send a request and note what it was told."""
    try:
        connection.request(method, path, headers=headers)
        with connection.getresponse() as response:
            body = response.read()
    except (OSError, HTTPException) as error:
        connection.close()
        answer.refused = isinstance(error, ConnectionRefusedError)  # nothing was sent
        return
    document = {}
    with suppress(ValueError):  # a proxy's own page
        document = json.loads(body)
    if response.status == 200:
        answer.value = document["value"]
    elif response.status in CONNECTION_ERRORS:
        answer.refused = document.get("counted") is False
    elif method == "GET" and response.status == 404:
        answer.value = 0
    else:
        raise AssertionError(f"{method} {path} answered {response.status}: {body!r:.500}")
