"""The commands that each feature needs of the store, as rights of an ACL user, and their trial."""

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
    """Something that the counter does with the store.

    :ivar name: what it is.
    :ivar rights: the commands that it needs, as an ACL has them.
    :ivar without: what happens where one of them is missing.
    """

    name: str
    rights: tuple[str, ...]
    without: str


def _feature(name: str, rights: str, without: str) -> Feature:
    return Feature(name, tuple(rights.split()), without)


#: All features, by what they are for.
FEATURES = {
    feature.name: feature
    for feature in (
        _feature(
            "hits",
            "ping evalsha script|load mget exists zcard incrby set get expire",
            "hits are refused, or counters are not read",
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
            "COUNTER_RATE_LIMIT and COUNTER_VISITOR_WINDOW do not hold, or hits are refused",
        ),
        _feature(
            "live",
            "publish subscribe unsubscribe",
            "the numbers on the pages and /live stand still",
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
            "nothing says how safe the store's data is",
        ),
        _feature("fsync", "waitaof info config|get", "COUNTER_DURABILITY=fsync cannot be kept"),
        _feature("replica", "wait", "COUNTER_DURABILITY=replica cannot be kept"),
    )
}


def acl_rules(prefix: str, features: Iterable[str]) -> str:
    """Return the smallest rules of an ACL user for some features."""
    rights = dict.fromkeys(right for name in features for right in FEATURES[name].rights)
    keys = f"~{prefix}*"
    channels = [f"&{prefix}*"] if "publish" in rights else []
    return " ".join([keys, *channels, *(f"+{right}" for right in sorted(rights))])


def probe_rights(key: str) -> Operation[dict[str, StoreRejectedError]]:
    """Run a command for each right but those of :func:`probe_channel`; return the errors.

    :param key: a key that is free, as are those that begin with it; they are deleted.
    """
    keys = CounterKeys(key)
    commands = _probe_commands(keys)
    answers = yield list(commands.values())
    (deleted,) = yield [("DEL", key, keys.days, keys.seen, keys.visitors)]
    return {
        right: answer
        for right, answer in zip((*commands, "del"), (*answers, deleted), strict=True)
        if isinstance(answer, StoreRejectedError)
        and not isinstance(answer.__cause__, NoScriptError)
    }


def probe_channel(key: str) -> Operation[dict[str, StoreRejectedError]]:
    """Subscribe to a counter's channel; return the errors by right.

    The connection is of no further use where it may not unsubscribe.
    """
    rights = ("subscribe", "unsubscribe")
    answers = yield [(right.upper(), CounterKeys(key).live) for right in rights]
    pairs = zip(rights, answers, strict=True)
    return {right: answer for right, answer in pairs if isinstance(answer, StoreRejectedError)}


def _probe_commands(keys: CounterKeys) -> dict[str, Command]:
    key, hash_, set_, visitors = keys.counter, keys.days, keys.seen, keys.visitors
    return {
        "ping": ("PING",),
        "evalsha": ("EVALSHA", "0" * 40, 0),  # there is no such script
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
        "time": ("TIME",),
        "info": ("INFO", "server"),
        "config|get": ("CONFIG GET", "appendfsync"),
        "wait": ("WAIT", 0, 1),
        "waitaof": ("WAITAOF", 0, 0, 1),
    }
