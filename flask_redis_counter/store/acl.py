"""Commands that each feature needs, as rights of an ACL user, and operations that probe them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from redis.exceptions import NoScriptError

from ..errors import StoreRejectedError
from .connections import Command
from .keys import CounterKeys
from .operation import Operation


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature of the counter that uses the store.

    :ivar name: its name.
    :ivar rights: the commands that it needs, as an ACL spells them.
    :ivar consequence: the effect of a missing right, as a clause for a message.
    """

    name: str
    rights: tuple[str, ...]
    consequence: str


def _feature(name: str, rights: str, consequence: str) -> Feature:
    return Feature(name, tuple(rights.split()), consequence)


#: All features, by name.
FEATURES = {
    feature.name: feature
    for feature in (
        _feature(
            "hits",
            "ping evalsha script|load mget exists zcard incrby set get expire",
            "hits are rejected, or counters are not read",
        ),
        _feature(
            "days",
            "hincrby expire hmget hget pfcount",
            "the hits of days and hours are not recorded, or not read",
        ),
        _feature(
            "names",
            "zadd zcard zrangebylex",
            "counters are not listed, and an export omits them",
        ),
        _feature(
            "visitors",
            "time get set hget hset del pfadd pfcount",
            "unique visitors are not counted",
        ),
        _feature(
            "rates",
            "time get set zscore zadd zremrangebyscore expire",
            "COUNTER_RATE_LIMIT and COUNTER_VISITOR_WINDOW have no effect, or hits are rejected",
        ),
        _feature(
            "live",
            "publish subscribe unsubscribe",
            "the numbers on the pages and /live are not updated",
        ),
        _feature(
            "live on a cluster",
            "spublish ssubscribe sunsubscribe",
            "the numbers on the pages and /live are not updated",
        ),
        _feature(
            "changes",
            "eval get incrby set zcard zadd zrem del",
            "counters cannot be set or deleted",
        ),
        _feature(
            "transfer",
            "evalsha script|load exists zcard incrby set get expire del hget hset hdel hincrby "
            "hgetall pfcount zadd zrem zrangebylex zscore scan",
            "export and import fail, or are incomplete",
        ),
        _feature(
            "information",
            "info config|get time",
            "the durability of the store's data is unknown",
        ),
        _feature("fsync", "waitaof info config|get", "COUNTER_DURABILITY=fsync does not work"),
        _feature(
            "confirmation",
            "info wait",
            "set, delete and imports do not wait for replicas, and a failover may undo them",
        ),
        _feature(
            "cluster",
            "cluster|info cluster|slots asking eval exists zadd zcard zrem zscore",
            "the cluster's nodes are not found, or counters are not created",
        ),
        _feature("replica", "wait", "COUNTER_DURABILITY=replica does not work"),
    )
}


def acl_rules(prefix: str, features: Iterable[str]) -> str:
    """Return the rules of an ACL user with only the rights that some features need."""
    rights = dict.fromkeys(right for name in features for right in FEATURES[name].rights)
    keys = f"~{prefix}*"
    channels = [f"&{prefix}*"] if rights.keys() & {"publish", "spublish"} else []
    return " ".join([keys, *channels, *(f"+{right}" for right in sorted(rights))])


def probe_rights(key: str) -> Operation[dict[str, StoreRejectedError]]:
    """Run a command for each right except those of :func:`probe_channel`; return errors by right.

    :param key: the key of a counter that does not exist. The keys written are deleted afterwards.
    """
    keys = CounterKeys(key)
    commands = _probe_commands(keys)
    replies = yield list(commands.values())
    (deleted,) = yield [("DEL", key, keys.days, keys.seen, keys.visitors)]
    return {
        right: reply
        for right, reply in zip((*commands, "del"), (*replies, deleted), strict=True)
        if isinstance(reply, StoreRejectedError) and not isinstance(reply.__cause__, NoScriptError)
    }


def probe_channel(key: str) -> Operation[dict[str, StoreRejectedError]]:
    """Subscribe to a counter's channel; return errors by right.

    Close the connection afterwards: it may stay subscribed if the right to unsubscribe is missing.
    """
    rights = ("subscribe", "unsubscribe", "ssubscribe", "sunsubscribe")
    replies = yield [(right.upper(), CounterKeys(key).live) for right in rights]
    pairs = zip(rights, replies, strict=True)
    return {right: reply for right, reply in pairs if isinstance(reply, StoreRejectedError)}


def _probe_commands(keys: CounterKeys) -> dict[str, Command]:
    key, hash_, set_, visitors = keys.counter, keys.days, keys.seen, keys.visitors
    return {
        "ping": ("PING",),
        "evalsha": ("EVALSHA", "0" * 40, 0),  # an unknown script
        "eval": ("EVAL", "return 1", 0),
        "script|load": ("SCRIPT LOAD", "return 1"),
        "set": ("SET", key, 1, "EX", 60),
        "get": ("GET", key),
        "mget": ("MGET", key, key),
        "exists": ("EXISTS", key),
        "incrby": ("INCRBY", key, 1),
        "expire": ("EXPIRE", key, 60),
        "hset": ("HSET", hash_, "a", 1),
        "hincrby": ("HINCRBY", hash_, "a", 1),
        "hget": ("HGET", hash_, "a"),
        "hmget": ("HMGET", hash_, "a"),
        "hgetall": ("HGETALL", hash_),
        "hdel": ("HDEL", hash_, "a"),
        "zadd": ("ZADD", set_, 0, "a"),
        "zcard": ("ZCARD", set_),
        "zscore": ("ZSCORE", set_, "a"),
        "zrangebylex": ("ZRANGEBYLEX", set_, "-", "+"),
        "zremrangebyscore": ("ZREMRANGEBYSCORE", set_, 0, 0),
        "zrem": ("ZREM", set_, "a"),
        "pfadd": ("PFADD", visitors, "a"),
        "pfcount": ("PFCOUNT", visitors),
        "scan": ("SCAN", 0, "COUNT", 1),
        "publish": ("PUBLISH", keys.live, 1),
        "spublish": ("SPUBLISH", keys.live, 1),
        "time": ("TIME",),
        "info": ("INFO", "server"),
        "config|get": ("CONFIG GET", "appendfsync"),
        "cluster|info": ("CLUSTER INFO",),
        "cluster|slots": ("CLUSTER SLOTS",),
        "asking": ("ASKING",),
        "wait": ("WAIT", 0, 1),
        "waitaof": ("WAITAOF", 0, 0, 1),
    }
