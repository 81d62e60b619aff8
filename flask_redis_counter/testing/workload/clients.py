"""Clients that count, and remember what they were told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import requests
from urllib3.exceptions import NewConnectionError

from .. import direct
from ..stacks.stack import StackError
from ..waiting import WaitTimeoutError


@dataclass
class Tally:
    """What clients were told.

    :ivar values: the values of the hits that were acknowledged, in no order.
    :ivar refused: how many were answered as not counted, for certain.
    :ivar unknown: how many may or may not have counted.
    """

    values: list[int] = field(default_factory=list)
    refused: int = 0
    unknown: int = 0

    def add(self, other: Tally) -> None:
        """Take over what another tally holds."""
        self.values += other.values
        self.refused += other.refused
        self.unknown += other.unknown

    def check(self, *, before: int, after: int) -> None:
        """Check the store's count against what was said.

        Where nothing is unknown, only the values from ``before`` + 1 to ``after`` without a
        gap pass.

        :param before: the counter's value before the first of these hits.
        :param after: its value after the last.
        :raises AssertionError: a hit was lost, counted twice, or a value was handed out twice.
        """
        known = len(self.values)
        counted = after - before
        if len(set(self.values)) < known:
            raise AssertionError(f"a value was handed out twice: {sorted(self.values)}")
        if not all(before < value <= after for value in self.values):
            raise AssertionError(f"a value is not from {before + 1} to {after}: {self.values}")
        if counted < known:
            raise AssertionError(f"{known - counted} of {known} acknowledged hits were lost")
        if counted > known + self.unknown:
            raise AssertionError(
                f"{counted} counted, but {known} acknowledged and {self.unknown} unknown"
            )


def count(url: str, *, counter: str | None = None, timeout: float = 5.0) -> Tally:
    """Send one hit and return its outcome.

    :param counter: on which counter; None: on that behind ``/count``.
    """
    try:
        if counter is None:
            answer = direct.get(f"{url}/count", timeout=timeout)
        else:
            answer = direct.post(f"{url}/counters/{counter}/hits", timeout=timeout)
    except requests.RequestException as error:
        return _failed(error)
    return _answered(answer)


def run_load(url: Callable[[], str], *, clients: int, go_on: Callable[[Tally], bool]) -> Tally:
    """Send hits from several threads for as long as ``go_on`` of the tally so far is true.

    :param url: asked at first, and when a connection fails: a restart may change it.
    """
    total = Tally()
    lock = threading.Lock()
    asking = threading.Lock()
    places = [url()]

    def ask_anew(place: str) -> None:
        with asking:
            if places[-1] == place:  # no other client has asked since
                with suppress(StackError, WaitTimeoutError):  # not back yet
                    places.append(url())

    def client() -> None:
        while True:
            with lock:
                if not go_on(total):
                    return
            place = places[-1]
            try:
                outcome = _answered(direct.get(f"{place}/count", timeout=5))
            except requests.RequestException as error:
                outcome = _failed(error)
                ask_anew(place)
            with lock:
                total.add(outcome)

    with ThreadPoolExecutor(clients) as pool:
        for future in [pool.submit(client) for _ in range(clients)]:
            future.result()
    return total


def _answered(answer: requests.Response) -> Tally:
    try:
        document = answer.json()
    except ValueError:
        return Tally(unknown=1)  # the error page of a proxy
    if answer.status_code == 200:
        return Tally(values=[document["value"]])
    if document.get("counted") is False:
        return Tally(refused=1)
    return Tally(unknown=1)


def _failed(error: requests.RequestException) -> Tally:
    cause = getattr(error.args[0], "reason", None) if error.args else None
    never_sent = isinstance(cause, NewConnectionError)
    return Tally(refused=1) if never_sent else Tally(unknown=1)
