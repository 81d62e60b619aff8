"""The Redis keys of counters: each key is spelled here, and only here.

The key of a counter is ``PREFIX{NAME}``, and the keys of its own records begin with it: the braces
make them one hash slot of a cluster. Keys shared by all counters of a prefix begin with
``PREFIX{}``, which is no counter's key, because a name is never empty.

The scripts in ``lua/`` get their keys as ``KEYS``, and derive three strings from them: a counter's
name from its key, its channel (:attr:`CounterKeys.live`), and ``PREFIX{}:room`` from the key of the
names, where they cache for 100 ms whether there is memory for another idempotency key.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from ..series import hourly_dates
from ..validation import check_name

#: The longest idempotency key that its record's key contains unhashed: any spelling of a UUID
#: fits. The hash of a longer one takes no more memory.
MAX_PLAIN_KEY = 40

# After the prefix, in keys that all counters share.
_SHARED = "{}"


def counter_key(prefix: str, name: object) -> str:
    """Return the key of a counter.

    :raises InvalidNameError: the name is invalid.
    """
    return _counter_key(prefix, name) if isinstance(name, str) else check_name(name)


@lru_cache(maxsize=4096)
def _counter_key(prefix: str, name: str) -> str:
    return f"{prefix}{{{check_name(name)}}}"


def counter_pattern(prefix: str) -> str:
    """Return the glob pattern (``SCAN``, ``KEYS``) of the keys of all counters."""
    return f"{prefix}{{*}}"


def name_from_key(key: str) -> str:
    """Return the name of a counter from its key."""
    return key.partition("{")[2].removesuffix("}")


def name_from_channel(channel: str) -> str:
    """Return the name of a counter from its channel (:attr:`CounterKeys.live`)."""
    return name_from_key(channel.removesuffix(":live"))


def names_key(prefix: str) -> str:
    """Return the key of the sorted set with the names of all counters."""
    return f"{prefix}{{}}:names"


def shared_names_key(key: str) -> str:
    """Return the key of the names of all counters from the key of a counter."""
    return names_key(key.partition("{")[0])


def local_key(key: str, counter: str) -> str:
    """Return a key that all counters share as one of the hash slot of a counter.

    Other keys are returned as they are.

    :param counter: key of the counter.
    """
    # Only at its beginning: an idempotency key may contain anything.
    shared = counter.partition("{")[0] + _SHARED
    return f"{counter}{key.removeprefix(shared)}" if key.startswith(shared) else key


def is_shared(key: str) -> bool:
    """Return whether all counters share a key."""
    return key.partition("{")[2].startswith("}")


def rates_key(prefix: str) -> str:
    """Return the key of the sorted set with the rate limits' state of all clients."""
    return f"{prefix}{{}}:rates"


def ready_key(prefix: str) -> str:
    """Return a key that is never set, for commands that check whether the store takes hits."""
    return f"{prefix}{{}}:ready"


class CounterKeys:
    """The keys of one counter and of its records.

    :ivar counter: the value.
    :ivar names: the names of all counters, shared by them (sorted set).
    :ivar rates: the rate limits' state of all clients, shared by all counters (sorted set).
    :ivar days: hits and visitors by day (hash).
    :ivar visitors: visitors of the last day that had any (HyperLogLog).
    :ivar salt: the day's salt, with which visitors are hashed (string).
    :ivar marks: the marks of the processes that have reported visitors (hash).
    :ivar seen: when each visitor was counted, for ``visitor_window`` (sorted set).
    :ivar imported: the values that were imported, by source (hash).
    :ivar live: the channel on which a change of the value is published.
    """

    __slots__ = (
        "counter",
        "days",
        "imported",
        "live",
        "marks",
        "names",
        "rates",
        "salt",
        "seen",
        "visitors",
    )

    def __init__(self, counter: str) -> None:
        prefix = counter.partition("{")[0]
        self.counter = counter
        self.names = names_key(prefix)
        self.rates = rates_key(prefix)
        self.days = f"{counter}:days"
        self.visitors = f"{counter}:visitors"
        self.salt = f"{counter}:salt"
        self.marks = f"{counter}:told"
        self.seen = f"{counter}:seen"
        self.imported = f"{counter}:imported"
        self.live = f"{counter}:live"

    def hours(self, date: str) -> str:
        """Return the key of the hits by hour of a day (hash)."""
        return f"{self.counter}:hours:{date}"

    def all_hours(self) -> list[str]:
        """Return the keys of the hours of all days whose hours are kept."""
        return [self.hours(date) for date in hourly_dates()]

    def all(self) -> list[str]:
        """Return the keys that ``delete`` takes: the counter, the names, and all records.

        The records of writers and idempotency keys are not among them: a repeated hit must not
        count after the counter was deleted, either. They expire.
        """
        records = (self.days, self.visitors, self.salt, self.marks, self.seen, self.imported)
        return [self.counter, self.names, *records, *self.all_hours()]


#: Returns the cached :class:`CounterKeys` of a counter's key.
get_keys = lru_cache(maxsize=4096)(CounterKeys)


@lru_cache(maxsize=1024)
def hit_keys(key: str, day: str) -> tuple[str, str, str]:
    """Return the keys in which each hit of a day is recorded: days, hours and names."""
    keys = get_keys(key)
    return keys.days, keys.hours(day), keys.names


def writer_record(key: str, writer: str) -> str:
    """Return the key of a writer's last sequence number on a counter, and the reply to it."""
    return f"{key}:writer:{writer}"


def idempotency_record(key: str, idempotency_key: str) -> str:
    """Return the key of the record of an idempotency key on a counter."""
    if len(idempotency_key) <= MAX_PLAIN_KEY:
        return f"{key}:token:{idempotency_key}"
    digest = hashlib.blake2b(idempotency_key.encode(), digest_size=20).hexdigest()
    return f"{key}:token-hash:{digest}"
