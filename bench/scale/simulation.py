"""Simulation of clients, workers and the masters of a cluster, event by event.

Each worker is one thread. It parses the requests that have arrived, and sends the hits of each
master that has answered the last round trip: one call for each counter. A master is one thread,
which serves round trips in the order in which they arrive. Clients wait for the answer before they
send the next request.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import simpy
from redis.crc import REDIS_CLUSTER_HASH_SLOTS

from flask_redis_counter.counting.batcher import MAX_HITS

from .costs import Costs
from .sample import Setup

_Steps = Generator[simpy.Event, Any, None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the processes run.

    :ivar cores: number of cores that clients, workers and masters share; None: clients take no
        time, and each worker and master has a core of its own.
    :ivar delay: seconds that a message takes from one process to another.
    """

    cores: int | None = None
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Simulated:
    """Result of a simulation.

    :ivar rate: hits a second.
    :ivar p50: median latency in milliseconds.
    :ivar p99: 99th percentile of the latency in milliseconds.
    :ivar hits_per_call: hits that a call counts on average.
    :ivar master_busy: share of the time in which the busiest master was at work.
    :ivar worker_busy: share of the time in which the busiest worker was at work.
    """

    rate: float
    p50: float
    p99: float
    hits_per_call: float
    master_busy: float
    worker_busy: float


def simulate(setup: Setup, costs: Costs, place: Place, *, hits: int, seed: int = 1) -> Simulated:
    """Simulate until a number of hits was answered; the first third is not part of the result."""
    world = _World(setup, costs, place, random.Random(seed))
    world.run(hits // 3)
    began = world.reset()
    world.run(hits - hits // 3)
    elapsed = world.now - began
    latencies = sorted(world.latencies)
    return Simulated(
        len(latencies) / elapsed,
        1e3 * latencies[len(latencies) // 2],
        1e3 * latencies[len(latencies) * 99 // 100],
        len(latencies) / max(1, sum(master.calls for master in world.masters)),
        max(master.busy for master in world.masters) / elapsed,
        max(worker.busy for worker in world.workers) / elapsed,
    )


@dataclass(slots=True)
class _Hit:
    counter: int
    began: float


@dataclass(slots=True)
class _Batch:
    worker: _Worker
    master: _Master
    hits: list[_Hit]

    @property
    def calls(self) -> int:
        return len({hit.counter for hit in self.hits})


class _World:
    def __init__(self, setup: Setup, costs: Costs, place: Place, chance: random.Random) -> None:
        self.setup, self.costs, self.place = setup, costs, place
        self.env = simpy.Environment()
        self.latencies: list[float] = []
        self._cores = simpy.Resource(self.env, place.cores) if place.cores else None
        self._chance = chance
        self._enough = self.env.event()
        self._wanted = 0
        self.masters = [_Master(self) for _ in range(setup.masters)]
        self._owners = [
            self.masters[
                chance.randrange(REDIS_CLUSTER_HASH_SLOTS)
                * setup.masters
                // REDIS_CLUSTER_HASH_SLOTS
            ]
            for _ in range(setup.counters)
        ]
        self.workers = [_Worker(self) for _ in range(setup.workers)]
        self._clients = _Clients(self)
        # One after the other within a millisecond, as clients that do not know each other.
        for number in range(setup.connections):
            worker = self.workers[number % setup.workers]
            self.later(chance.random() / 1e3, self._clients, [(worker, None)])

    @property
    def now(self) -> float:
        return self.env.now

    def run(self, hits: int) -> None:
        self._wanted = len(self.latencies) + hits
        self._enough = self.env.event()
        self.env.run(self._enough)

    def reset(self) -> float:
        self.latencies.clear()
        for master in self.masters:
            master.calls, master.busy = 0, 0.0
        for worker in self.workers:
            worker.busy = 0.0
        return self.now

    def request(self) -> _Hit:
        return _Hit(self._chance.randrange(self.setup.counters), self.now)

    def owner(self, hit: _Hit) -> _Master:
        return self._owners[hit.counter]

    def note_answer(self, hit: _Hit) -> None:
        self.latencies.append(self.now - hit.began)
        if len(self.latencies) == self._wanted:
            self._enough.succeed()

    def spend(self, seconds: float, share: float = 1.0) -> _Steps:
        """Use a core for some seconds, and wait for the next ones if only a share is free."""
        if self._cores is None:
            yield self.env.timeout(seconds / share)
            return
        with self._cores.request() as core:
            yield core
            yield self.env.timeout(seconds)
        if share < 1:
            yield self.env.timeout(seconds / share - seconds)

    def later(self, delay: float, process: _Process, messages: list[Any]) -> None:
        """Deliver messages to a process after a delay."""
        event = self.env.timeout(delay)
        event.callbacks.append(lambda _: process.receive(messages))


class _Process:
    """A thread that handles all messages that have arrived, and then waits for the next ones."""

    def __init__(self, world: _World) -> None:
        self.world = world
        self._inbox: list[Any] = []
        self._arrived = world.env.event()
        world.env.process(self._loop())

    def receive(self, messages: list[Any]) -> None:
        self._inbox += messages
        if not self._arrived.triggered:
            self._arrived.succeed()

    def _loop(self) -> _Steps:
        while True:
            yield self._arrived
            self._arrived = self.world.env.event()
            messages, self._inbox = self._inbox, []
            yield from self.handle(messages)
            if self._inbox and not self._arrived.triggered:
                self._arrived.succeed()

    def handle(self, messages: list[Any]) -> _Steps:
        raise NotImplementedError


class _Clients(_Process):
    """All clients: they get answers, and send the next request to the same worker."""

    def handle(self, messages: list[tuple[_Worker, _Hit | None]]) -> _Steps:
        world = self.world
        for _, hit in messages:
            if hit is not None:
                world.note_answer(hit)
        if world.place.cores is not None:
            yield from world.spend(world.costs.client * len(messages))
        requests: dict[int, tuple[_Worker, list[_Hit]]] = {}
        for worker, _ in messages:
            requests.setdefault(id(worker), (worker, []))[1].append(world.request())
        for worker, hits in requests.values():
            world.later(world.place.delay, worker, hits)


class _Worker(_Process):
    def __init__(self, world: _World) -> None:
        super().__init__(world)
        self.busy = 0.0
        self._waiting: dict[int, list[_Hit]] = {id(master): [] for master in world.masters}
        self._in_flight: set[int] = set()

    def handle(self, messages: list[_Hit | _Batch]) -> _Steps:
        world, costs = self.world, self.world.costs
        hits = [it for it in messages if isinstance(it, _Hit)]
        replies = [it for it in messages if isinstance(it, _Batch)]
        answered = [hit for batch in replies for hit in batch.hits]
        # A request costs half of a hit's time, its response the other half.
        yield from self._spend(costs.hit * (len(hits) + len(answered)) / 2)
        if answered:
            world.later(world.place.delay, world._clients, [(self, hit) for hit in answered])
        for batch in replies:
            self._in_flight.discard(id(batch.master))
        for hit in hits:
            self._waiting[id(world.owner(hit))].append(hit)
        for master in world.masters:
            waiting = self._waiting[id(master)]
            if waiting and id(master) not in self._in_flight:
                batch = _Batch(self, master, waiting[:MAX_HITS])
                self._waiting[id(master)] = waiting[MAX_HITS:]
                self._in_flight.add(id(master))
                yield from self._spend(costs.batch + costs.call * batch.calls)
                world.later(world.place.delay, master, [batch])

    def _spend(self, seconds: float) -> _Steps:
        self.busy += seconds
        yield from self.world.spend(seconds)


class _Master(_Process):
    def __init__(self, world: _World) -> None:
        super().__init__(world)
        self.calls, self.busy = 0, 0.0

    def handle(self, messages: list[_Batch]) -> _Steps:
        world, costs = self.world, self.world.costs
        share = (world.setup.share or 1.0) - costs.idle
        for batch in messages:
            began = world.now
            yield from world.spend(costs.store_batch + costs.store_call * batch.calls, share)
            self.calls += batch.calls
            self.busy += world.now - began
            world.later(world.place.delay, batch.worker, [batch])
