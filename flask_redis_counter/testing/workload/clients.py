"""Clients that send hits and tally the responses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import requests
from urllib3.exceptions import NewConnectionError

from .. import direct
from ..stacks.errors import StackError
from ..waiting import WaitTimeoutError


@dataclass
class Tally:
    """Outcomes of hits.

    :ivar values: values of the acknowledged hits, in no order.
    :ivar not_counted: number of hits that certainly did not count.
    :ivar unknown: number of hits that may or may not have counted.
    """

    values: list[int] = field(default_factory=list)
    not_counted: int = 0
    unknown: int = 0

    def add(self, other: Tally) -> None:
        """Add the outcomes of another tally."""
        self.values += other.values
        self.not_counted += other.not_counted
        self.unknown += other.unknown

    def check(self, *, before: int, after: int) -> None:
        """Check the count in the store against the responses.

        If no outcome is unknown, only the values from ``before`` + 1 to ``after`` without a
        gap pass.

        :param before: the counter's value before the first of these hits.
        :param after: its value after the last.
        :raises AssertionError: a hit was lost or counted twice, or a value was returned twice.
        """
        known = len(self.values)
        counted = after - before
        if len(set(self.values)) < known:
            raise AssertionError(f"a value was returned twice: {sorted(self.values)}")
        if not all(before < value <= after for value in self.values):
            raise AssertionError(f"a value is not from {before + 1} to {after}: {self.values}")
        if counted < known:
            raise AssertionError(f"{known - counted} of {known} acknowledged hits were lost")
        if counted > known + self.unknown:
            raise AssertionError(
                f"{counted} counted, but {known} acknowledged and {self.unknown} unknown"
            )


def send_hit(url: str, *, counter: str | None = None, timeout: float = 5.0) -> Tally:
    """Send one hit and return its outcome.

    :param counter: the counter's name; None: the counter behind ``/count``.
    """
    try:
        if counter is None:
            response = direct.get(f"{url}/count", timeout=timeout)
        else:
            response = direct.post(f"{url}/counters/{counter}/hits", timeout=timeout)
    except requests.RequestException as error:
        return _tally_error(error)
    return _tally_response(response)


def run_load(
    url: Callable[[], str], *, clients: int, should_continue: Callable[[Tally], bool]
) -> Tally:
    """Send hits from several threads as long as ``should_continue(tally)`` returns true.

    :param url: returns the service's URL. It is called once, and again when a connection fails,
        because a restart may change the port.
    """
    total = Tally()
    lock = threading.Lock()
    url_lock = threading.Lock()
    urls = [url()]

    def refresh_url(failed: str) -> None:
        with url_lock:
            if urls[-1] == failed:  # no other client has refreshed it since
                with suppress(StackError, WaitTimeoutError):  # the service is still down
                    urls.append(url())

    def run_client() -> None:
        while True:
            with lock:
                if not should_continue(total):
                    return
            current = urls[-1]
            try:
                outcome = _tally_response(direct.get(f"{current}/count", timeout=5))
            except requests.RequestException as error:
                outcome = _tally_error(error)
                refresh_url(current)
            with lock:
                total.add(outcome)

    with ThreadPoolExecutor(clients) as pool:
        for future in [pool.submit(run_client) for _ in range(clients)]:
            future.result()
    return total


def _tally_response(response: requests.Response) -> Tally:
    try:
        document = response.json()
    except ValueError:
        return Tally(unknown=1)  # the error page of a proxy
    if response.status_code == 200:
        return Tally(values=[document["value"]])
    if document.get("counted") is False:
        return Tally(not_counted=1)
    return Tally(unknown=1)


def _tally_error(error: requests.RequestException) -> Tally:
    cause = getattr(error.args[0], "reason", None) if error.args else None
    never_sent = isinstance(cause, NewConnectionError)
    return Tally(not_counted=1) if never_sent else Tally(unknown=1)
