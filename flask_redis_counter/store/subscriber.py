"""Subscriber (Redis pub/sub) to changes of counters, in one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import redis.asyncio

from .connections import ConnectionFactory
from .keys import CounterKeys, name_from_channel
from .subscription import SWITCH_CHECK_INTERVAL, Subscription
from .target import parse_target
from .url import Address

#: Seconds until a channel whose master is not known yet is looked up again.
LOOKUP_INTERVAL = 0.1


class CounterSubscriber:
    """Calls back when the value of a counter may have changed.

    Never raises. After an outage of the store, it calls back for each counter, because messages may
    have been missed. On a cluster it has a connection to each master of a counter, and follows the
    counter about two seconds after its hash slot was moved; until then it may miss changes.

    :param store: a URL.
    :param on_change: called with the name of a counter, in the event loop.
    """

    def __init__(self, store: str, on_change: Callable[[str], None]) -> None:
        self._target = parse_target(store, redis.asyncio)
        self._on_change = on_change
        # By the address of a node; under None, if the store is no cluster.
        self._subscriptions: dict[Address | None, Subscription] = {}
        self._places: dict[str, Subscription | None] = {}
        self._watcher: asyncio.Task[None] | None = None

    def subscribe(self, key: str) -> None:
        """Call back for the counter with this key, first when the subscription is confirmed."""
        self._place(CounterKeys(key).live)
        is_watching = self._watcher is not None and not self._watcher.done()
        if self._target.cluster is not None and not is_watching:
            self._watcher = asyncio.get_running_loop().create_task(self._watch())

    def unsubscribe(self, key: str) -> None:
        """Stop calling back for the counter with this key; close the connection after the last."""
        channel = CounterKeys(key).live
        self._leave(channel, self._places.pop(channel, None))
        if not self._places:
            self.close()

    def close(self) -> None:
        """Close the connections."""
        for subscription in self._subscriptions.values():
            subscription.close()
        self._subscriptions.clear()
        self._places.clear()
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    def _place(self, channel: str) -> None:
        """Subscribe to a channel where it is now, and unsubscribe where it was."""
        place, known = self._find(channel), self._places.setdefault(channel, None)
        if place is None or place is known:
            return
        place.add(channel)
        self._places[channel] = place
        self._leave(channel, known)

    def _leave(self, channel: str, subscription: Subscription | None) -> None:
        if subscription is None:
            return
        subscription.remove(channel)
        if not subscription.channels:
            subscription.close()
            others = self._subscriptions.items()
            self._subscriptions = {a: it for a, it in others if it is not subscription}

    def _find(self, channel: str) -> Subscription | None:
        """Return the subscription to a channel's server; None if its master is not known."""
        cluster = self._target.cluster
        address = None if cluster is None else cluster.find_owner(channel)
        if cluster is not None and address is None:
            return None
        if address not in self._subscriptions:
            target = self._target if address is None else self._target.at(address)
            self._subscriptions[address] = Subscription(
                ConnectionFactory(target, redis.asyncio, None),
                lambda channel: self._on_change(name_from_channel(channel)),
                is_sharded=cluster is not None,
            )
        return self._subscriptions[address]

    async def _watch(self) -> None:
        """Follow the hash slots of a cluster."""
        while True:
            is_known = None not in self._places.values()
            await asyncio.sleep(SWITCH_CHECK_INTERVAL if is_known else LOOKUP_INTERVAL)
            for channel in list(self._places):
                self._place(channel)
            for subscription in self._subscriptions.values():
                subscription.repair()
