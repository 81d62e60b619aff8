"""The Sentinels of a service: they name the address of its master.

A daemon thread for each Sentinel asks it every quarter of a second, so that a Sentinel that is
frozen, or whose host name does not resolve, delays no other one, and a failover is noticed soon.

Guidelines: https://redis.io/docs/latest/develop/reference/sentinel-clients/
"""

from __future__ import annotations

import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from ..forking import ForkSafe, stop_before_fork
from .causes import NoMasterError, find_cause
from .url import Address

#: Seconds between two questions to a Sentinel.
POLL_INTERVAL = 0.25

#: Seconds that connecting to a Sentinel and its replies may take.
ASK_TIMEOUT = 1.0

#: Seconds that an answer is valid. That of a Sentinel that has stopped answering may be outdated.
ANSWER_TTL = 1.0

#: Seconds to wait for the other Sentinels after the first answer. One that was cut off from the
#: others for a while may name the master of that time.
GATHER_TIME = 0.1


@dataclass(frozen=True, slots=True)
class _Answer:
    """A Sentinel's answer.

    :ivar master: the address, or None if the Sentinel gave none.
    :ivar epoch: version of the Sentinel's configuration; each failover increases it.
    :ivar at: time of the answer, by :func:`time.monotonic`.
    :ivar problem: why there is no address.
    :ivar remedy: what to do about it.
    """

    master: Address | None
    epoch: int
    at: float
    problem: str = ""
    remedy: str = ""


class Sentinels(ForkSafe):
    """The Sentinels of one service, asked from the first question until the object is unused.

    Thread-safe.

    :param connectors: for each Sentinel a function that makes a connection of redis-py, not yet
        connected, with timeouts.
    :param names: host and port of each Sentinel, for messages.
    :param service: name of the service.
    :param secure: whether the Sentinels speak TLS.
    """

    _stopped: threading.Event
    _threads: list[threading.Thread]

    def __init__(
        self,
        connectors: Sequence[Callable[[], Any]],
        names: Sequence[str],
        service: str,
        *,
        secure: bool = False,
    ) -> None:
        self.service = service
        self._connectors = connectors
        self._names = names
        self._secure = secure
        super().__init__()
        self.enter()

    def masters(self) -> list[Address]:
        """Return the addresses that Sentinels have named within the last second, the best first.

        The best one has the highest configuration epoch: its Sentinels know of the last failover.
        """
        self.enter()
        self._start()
        return self._masters if time.monotonic() <= self._masters_expire else []

    def wait_for_masters(self, timeout: float) -> list[Address]:
        """Return the addresses as :meth:`masters`, and wait for a first one.

        :param timeout: maximum seconds.
        :raises NoMasterError: no Sentinel named one in time.
        """
        self.enter()
        deadline = time.monotonic() + timeout
        try:
            self._start()
        except RuntimeError as error:  # the system is out of threads, or Python exits
            raise NoMasterError(f"the Sentinels cannot be asked: {error}", "") from error
        with self._answered:
            while True:
                now = time.monotonic()
                found = self.masters()
                fresh = [answer for answer in self._answers.values() if _is_fresh(answer, now)]
                is_complete = len(fresh) == len(self._names)
                if found and (is_complete or now >= min(one.at for one in fresh) + GATHER_TIME):
                    return found
                if now >= deadline or (is_complete and not found):
                    break
                self._answered.wait(min(deadline - now, GATHER_TIME))
        if found:
            return found
        raise self._make_error()

    def stop(self) -> bool:
        """Stop the threads, and return whether any ran; the next question starts them again."""
        if not self.belongs_here():
            return False
        with self._answered:
            self._is_asking = False
            threads, self._threads = self._threads, []
        self._stopped.set()
        for thread in threads:
            thread.join(ASK_TIMEOUT)
        return bool(threads)

    def resume(self) -> None:
        """Start the threads again."""
        self._start()

    def _reset(self) -> None:
        self._answered = threading.Condition()
        self._stopped = threading.Event()
        self._threads = []
        self._answers: dict[str, _Answer] = {}
        # The addresses of the answers that are valid, the best first. Each batch of hits asks.
        self._masters: list[Address] = []
        self._masters_expire = 0.0
        self._is_asking = False

    def _start(self) -> None:
        if self._is_asking:
            return
        with self._answered:
            was_asking, self._is_asking = self._is_asking, True
            if not was_asking:
                self._stopped = threading.Event()
                weakref.finalize(self, self._stopped.set)
        if not was_asking:
            stop_before_fork(self)
            for name, connect in zip(self._names, self._connectors, strict=True):
                arguments = (weakref.ref(self), name, connect, self.service, self._secure)
                thread = threading.Thread(
                    target=_watch, args=(*arguments, self._stopped), daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:  # the system is out of threads
                    self.stop()
                    raise
                self._threads.append(thread)

    def _note(self, name: str, answer: _Answer) -> None:
        with self._answered:
            self._answers[name] = answer
            self._masters = _rank(
                one for one in self._answers.values() if _is_fresh(one, answer.at)
            )
            self._masters_expire = answer.at + ANSWER_TTL
            self._answered.notify_all()

    def _make_error(self) -> NoMasterError:
        now = time.monotonic()
        problems: dict[str, list[str]] = {}
        remedies = []
        for name in self._names:
            answer = self._answers.get(name)
            is_silent = answer is None or not _is_fresh(answer, now)
            problem = "nothing answers" if answer is None or is_silent else answer.problem
            problems.setdefault(problem, []).append(name)
            if answer is not None and answer.remedy:
                remedies.append(answer.remedy)
        told = "; ".join(f"{', '.join(names)}: {text}" for text, names in problems.items())
        remedy = remedies[0] if remedies else "start the Sentinels, or correct their addresses"
        return NoMasterError(f"no Sentinel names a master of {self.service!r} ({told})", remedy)


def _rank(answers: Iterable[_Answer]) -> list[Address]:
    found: dict[Address, tuple[int, int]] = {}
    for answer in answers:
        if answer.master is not None:
            epoch, votes = found.get(answer.master, (0, 0))
            found[answer.master] = max(epoch, answer.epoch), votes + 1
    return sorted(found, key=found.__getitem__, reverse=True)


def _is_fresh(answer: _Answer, now: float) -> bool:
    return now - answer.at <= ANSWER_TTL


def _watch(
    owner: weakref.ref[Sentinels],
    name: str,
    connect: Callable[[], Any],
    service: str,
    secure: bool,
    stopped: threading.Event,
) -> None:
    """Ask one Sentinel again and again until its owner is no longer used."""
    connection = None
    has_answered = False
    while not stopped.is_set():
        try:
            if connection is None:
                connection = connect()
                connection.connect()
            answer = _ask(connection, service)
            has_answered = True
        except Exception as error:  # a host name may raise a UnicodeError, for instance
            if connection is not None:
                connection.disconnect()
                connection = None
            # An established connection that breaks says nothing about the settings.
            problem = ("it has stopped answering", "") if has_answered else _explain(error, secure)
            answer = _Answer(None, 0, time.monotonic(), *problem)
            has_answered = False
        sentinels = owner()
        if sentinels is None:
            break
        sentinels._note(name, answer)
        del sentinels
        stopped.wait(POLL_INTERVAL)
    if connection is not None:
        connection.disconnect()


def _ask(connection: Any, service: str) -> _Answer:
    connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
    # Its epoch is unknown to some stand-ins for a Sentinel, and to users with few rights.
    connection.send_command("SENTINEL", "MASTER", service)
    address = _read(connection)
    details = _read(connection)
    now = time.monotonic()
    if isinstance(address, Exception):
        raise address
    if address is None:
        remedy = "correct the name of the service in REDIS_URL, or let the Sentinels monitor it"
        return _Answer(None, 0, now, f"it knows no service {service!r}", remedy)
    host, port = address
    epoch = 0
    if isinstance(details, list):
        fields = dict(zip(details[::2], details[1::2], strict=False))
        epoch = int(fields.get(b"config-epoch", 0))
    return _Answer((host.decode(), int(port)), epoch, now)


def _read(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def _explain(error: Exception, secure: bool) -> tuple[str, str]:
    if isinstance(error, AuthenticationError | NoPermissionError) or "NOAUTH" in str(error):
        remedy = "set sentinel_username and sentinel_password in REDIS_URL to those of a Sentinel"
        return f"it rejects the credentials ({error})", remedy
    if "unknown command" in str(error):
        return "it is not a Sentinel", "write the Sentinels' ports in REDIS_URL, such as 26379"
    cause, remedy = find_cause(error, secure=secure)
    system_error = error.__cause__ or error.__context__
    is_tls = isinstance(system_error, ssl.SSLError)  # whose text find_cause() has explained
    if isinstance(system_error, OSError) and system_error.strerror and not is_tls:
        cause = system_error.strerror  # redis-py's text repeats the address
    return cause, remedy.replace("redis://", "redis+sentinel://").replace(
        "rediss://", "rediss+sentinel://"
    )
