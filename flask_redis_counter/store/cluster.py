"""The nodes of a Redis Cluster: which master serves the keys of which hash slot.

A daemon thread asks one node after the other for the slot map, once a second, and at once when a
command was redirected or a node did not answer. The map of the highest configuration epoch wins,
so that a master that is cut off from the others cannot bring back an old one.

Specification: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Hashable, Sequence
from itertools import chain
from typing import Any

from redis.exceptions import AskError, MovedError, ResponseError, TryAgainError

from ..errors import StoreRejectedError, StoreUnavailableError
from ..forking import ForkSafe, stop_before_fork
from .causes import NoMasterError, find_cause
from .slot_map import SLOTS, SlotMap, key_slot, read_slot_map, resolve_host
from .url import Address

#: Seconds between two questions for the slot map.
POLL_INTERVAL = 1.0

#: Seconds between two questions if the map is known to be outdated.
HURRY_INTERVAL = 0.05

#: Seconds that connecting to a node and each of its replies may take.
ASK_TIMEOUT = 0.5

#: Seconds after which a map with a lower epoch is accepted: the cluster was created again.
EPOCH_TTL = 10.0

#: Seconds for which a slot is taken as being moved after a reply said so.
MOVING_TTL = 1.0


class Cluster(ForkSafe):
    """Slot map of a cluster, asked for from the first question until the object is unused.

    Thread-safe.

    :param connect: makes a connection of redis-py to an address, not yet connected, with timeouts.
    :param seeds: addresses of some of the nodes.
    :param secure: whether the nodes speak TLS.
    :ivar seeds: the same.
    """

    _thread: threading.Thread | None

    def __init__(
        self, connect: Callable[[Address], Any], seeds: Sequence[Address], *, secure: bool = False
    ) -> None:
        self.seeds = tuple(seeds)
        self._connect = connect
        self._secure = secure
        super().__init__()
        self.enter()

    def owner(self, key: str | bytes) -> Address | None:
        """Return the master that serves the slot of a key; None: no map is known yet.

        :raises StoreUnavailableError: no master serves the key's slot.
        """
        owner = self.find_owner(key)
        if owner is None and self._map is not None:
            self.refresh()
            missing = self._map.owners.count(None)
            raise StoreUnavailableError(
                f"no master serves hash slot {key_slot(key)} ({missing} of {SLOTS} slots have "
                "none): start the missing nodes, or repair the cluster: redis-cli --cluster fix "
                "HOST:PORT"
            )
        return owner

    def find_owner(self, key: str | bytes) -> Address | None:
        """Return the master that serves a key's slot; None if that is not known, or none does."""
        self.enter()
        self._start()
        return None if self._map is None else self._map.owners[key_slot(key)]

    def lane(self, key: str) -> Hashable:
        """Return what keys have in common that may share a batch: their master.

        A slot that is being moved has a lane of its own: its calls may have to wait for long.
        """
        if self._moving and self._moving.get(slot := key_slot(key), 0.0) > time.monotonic():
            return slot
        return self.find_owner(key)

    def owns(self, address: Address, key: str) -> bool:
        """Return whether a master serves the slot of a key."""
        return self._map is not None and self._map.owners[key_slot(key)] == address

    def masters(self) -> tuple[Address, ...]:
        """Return the masters, as far as they are known."""
        self.enter()
        self._start()
        return () if self._map is None else self._map.masters

    def nodes(self) -> list[Address]:
        """Return the addresses of all nodes that are known, the masters first."""
        found = self._map
        known = () if found is None else (*found.masters, *found.nodes)
        return list(dict.fromkeys(chain(known, self.seeds)))

    def wait(self, timeout: float) -> None:
        """Wait for the first map.

        :param timeout: maximum seconds.
        :raises NoMasterError: no node sent one in time.
        """
        self.enter()
        self._start()
        with self._changed:
            self._changed.wait_for(
                lambda: self._map is not None or len(self._problems) >= len(self.seeds), timeout
            )
            if self._map is not None:
                return
            problem, remedy = next(iter(self._problems.values()), ("nothing answers", ""))
        remedy = remedy or "start its nodes, or correct their addresses in REDIS_URL"
        raise NoMasterError(f"no node of the cluster answers: {problem}", remedy)

    def refresh(self) -> None:
        """Ask for the map now, because it may be outdated."""
        self._hurry_until = time.monotonic() + POLL_INTERVAL
        self._wake.set()

    def note_reply(self, key: str | bytes, reply: Any, asked: Address) -> Address | None:
        """Learn from the reply to a command; return the node that it is redirected to, if any.

        ``MOVED`` is for all commands of the slot, ``ASK`` only for this one.

        :param key: key of the command.
        :param asked: address of the node that replied.
        """
        error = reply.__cause__ if isinstance(reply, StoreRejectedError) else None
        if isinstance(error, AskError | TryAgainError) and not isinstance(error, MovedError):
            self._moving[key_slot(key)] = time.monotonic() + MOVING_TTL
        if not isinstance(error, AskError):  # also MovedError
            return None
        target = resolve_host(str(error.host), asked), int(error.port)
        if isinstance(error, MovedError):
            if self._map is not None and target != asked:
                self._map.owners[key_slot(key)] = target
            self._moving.pop(key_slot(key), None)
            self.refresh()
        return target

    def stop(self) -> bool:
        """Stop the thread, and return whether it ran; the next question starts it again."""
        if not self.belongs_here():
            return False
        with self._changed:
            thread, self._thread = self._thread, None
            self._is_asking = False
        self._stopped.set()
        self._wake.set()
        if thread is not None:
            thread.join(ASK_TIMEOUT)
        return thread is not None

    def resume(self) -> None:
        """Start the thread again."""
        self._start()

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._wake = threading.Event()
        self._thread = None
        self._is_asking = False
        self._map: SlotMap | None = None
        self._accepted_at = 0.0
        self._problems: dict[Address, tuple[str, str]] = {}
        # Slots that are being moved, and until when that is assumed.
        self._moving: dict[int, float] = {}
        self._hurry_until = 0.0

    def _start(self) -> None:
        if self._is_asking:
            return
        with self._changed:
            was_asking, self._is_asking = self._is_asking, True
        if not was_asking:
            self._stopped = threading.Event()
            arguments = (weakref.ref(self), self._connect, self._stopped, self._wake)
            thread = threading.Thread(target=_ask_nodes, args=arguments, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the system is out of threads, or Python exits
                self._is_asking = False
                self._note_problem(self.seeds[0], error)
                return
            self._thread = thread
            weakref.finalize(self, _end, self._stopped, self._wake)
            stop_before_fork(self)

    def _note_map(self, found: SlotMap) -> None:
        now = time.monotonic()
        with self._changed:
            known = self._map
            if known is None or found.epoch >= known.epoch or now > self._accepted_at + EPOCH_TTL:
                if known is not None and known.owners != found.owners:
                    self._hurry_until = 0.0
                self._map, self._accepted_at = found, now
                self._problems.clear()
            self._changed.notify_all()

    def _note_problem(self, address: Address, error: Exception) -> None:
        problem = _explain(error, self._secure)
        with self._changed:
            self._problems[address] = f"{address[0]}:{address[1]}: {problem[0]}", problem[1]
            self._changed.notify_all()

    def _pause(self) -> float:
        if self._map is None or time.monotonic() < self._hurry_until:
            return HURRY_INTERVAL
        return POLL_INTERVAL


def _end(stopped: threading.Event, wake: threading.Event) -> None:
    stopped.set()
    wake.set()


def _ask_nodes(
    reference: weakref.ref[Cluster],
    connect: Callable[[Address], Any],
    stopped: threading.Event,
    wake: threading.Event,
) -> None:
    """Ask one node after the other, until the cluster's object is no longer used."""
    turn = 0
    while not stopped.is_set():
        cluster = reference()
        if cluster is None:
            break
        wake.clear()
        nodes = cluster.nodes()
        address = nodes[turn % len(nodes)]
        turn += 1
        try:
            cluster._note_map(read_slot_map(connect(address), address))
        except Exception as error:  # a host name may raise a UnicodeError, for instance
            cluster._note_problem(address, error)
        pause = cluster._pause()
        del cluster
        if pause == HURRY_INTERVAL:  # not shortened by each failure of a hit
            stopped.wait(pause)
        else:
            wake.wait(pause)


def _explain(error: Exception, secure: bool) -> tuple[str, str]:
    if isinstance(error, NoMasterError):
        return str(error), error.remedy
    if isinstance(error, ResponseError):
        if "cluster support disabled" in str(error):
            return (
                "it is not in cluster mode",
                "write redis:// instead of redis+cluster:// in REDIS_URL",
            )
        return str(error), "let the user run CLUSTER SLOTS and CLUSTER INFO"
    return find_cause(error, secure=secure)
