"""Decides which acknowledged writes a store can no longer lose."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ..store.server_state import ServerState

# With appendfsync everysec, the server keeps writes in its memory while a sync runs. Otherwise it
# writes them to the file at once, and starts a sync if the last one started a second ago or more.
# So if no sync runs at a time T, all writes before T - 1.5 s are in the file then, and a sync of
# them has ended, or starts within a tenth of a second. If no sync runs 0.2 s later, it has ended.

#: Seconds before a time without a running sync up to which writes are in the file then.
SYNC_TIME = 1.5

#: Seconds in which the server starts a sync that is due.
SYNC_PAUSE = 0.2

#: Seconds for which a replica that has disconnected is still waited for: it may be promoted.
REPLICA_MEMORY = 600.0

#: Seconds after which a write counts as safe on a store that has neither replicas nor an
#: append-only file, or does not say so: nothing is ever safe there.
UNKNOWN_SAFE_AFTER = 10.0

#: Number of observations that are kept for a replica that is behind.
MAX_CHECKPOINTS = 1000


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """All writes before a time are within the first bytes of a history."""

    before: float
    offset: int


class SafetyTracker:
    """Follows one history of a store by repeated observations of its state.

    A write is safe once all replicas have received it that are connected, or were within
    :data:`REPLICA_MEMORY`, and once it is on the server's disk, if there is an append-only file.

    Replicas report their offsets once a second.

    :param replicas: number of replicas that are waited for at first.
    """

    def __init__(self, replicas: int = 0) -> None:
        # Number of replicas that are waited for, and since when fewer are connected.
        self._replicas = replicas
        self._incomplete_since: float | None = None
        self._start("")

    @property
    def replicas(self) -> int:
        """Number of replicas that are waited for."""
        return self._replicas

    def observe(self, state: ServerState, before: float, now: float) -> float:
        """Take a state into account; return the time before which all writes are safe.

        :param state: state of the server, which it reported after ``before``.
        :param before: a time before the question was sent.
        :param now: time of the reply.
        """
        if state.history != self._history:
            if self._history:
                # One of the replicas may be the new master; the others follow it soon.
                self._replicas, self._incomplete_since = max(0, self._replicas - 1), None
            self._start(state.history)
        if not state.history or not (
            state.replica_offsets or self._replicas or state.has_append_only_file
        ):
            return now - UNKNOWN_SAFE_AFTER
        self._checkpoints.append(_Checkpoint(before, state.offset))
        replicated = self._replicated_before(state, now)
        synced = self._synced_before(state, now) if state.has_append_only_file else before
        return min(replicated, synced)

    def _start(self, history: str) -> None:
        self._history = history
        self._checkpoints: deque[_Checkpoint] = deque(maxlen=MAX_CHECKPOINTS)
        self._replicated = 0.0
        self._idle_since: float | None = None
        self._synced = 0.0

    def _replicated_before(self, state: ServerState, now: float) -> float:
        connected = len(state.replica_offsets)
        since = self._incomplete_since
        if connected >= self._replicas or (since is not None and now - since > REPLICA_MEMORY):
            self._replicas, self._incomplete_since = connected, None
        elif since is None:
            self._incomplete_since = now
        if connected < self._replicas:
            return self._replicated
        received = min(state.replica_offsets, default=state.offset)
        while self._checkpoints and self._checkpoints[0].offset <= received:
            self._replicated = self._checkpoints.popleft().before
        return self._replicated

    def _synced_before(self, state: ServerState, now: float) -> float:
        if state.is_syncing:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since >= SYNC_PAUSE:
            self._synced = self._idle_since - SYNC_TIME
            self._idle_since = now
        return self._synced
