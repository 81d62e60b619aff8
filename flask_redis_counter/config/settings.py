"""Every setting, once: its name, its default, its bounds and what it does."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, TypeAlias

from ..errors import InvalidAmountError
from ..hosts import normalize
from ..limits import RateLimit
from ..validation import (
    DEFAULT_PREFIX,
    DEFAULT_TIMEOUT,
    FORMAT_SUFFIXES,
    URL_SAFE_NAME,
    check_durability,
    check_name,
    check_prefix,
    check_timeout,
    check_url,
)

Network: TypeAlias = IPv4Network | IPv6Network

_ROOT_PATH = re.compile(r"(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]+)+")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    :ivar name: the environment variable, and the key in ``app.config``.
    :ivar parse: turns what was given into a value, or raises :class:`ValueError`.
    :ivar default: the value where nothing was given.
    :ivar help: what it does, with unit and bounds.
    """

    name: str
    parse: Callable[[Any], Any]
    default: Any
    help: str


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError("is not text")
    return given


def _own_name(given: Any) -> str:
    name = check_name(given)
    if not URL_SAFE_NAME.fullmatch(name):
        raise ValueError(
            f"ends in one of {', '.join(FORMAT_SUFFIXES)}, or is a folder: its address is another's"
        )
    return name


def _url(given: Any) -> str:
    return check_url(_text(given))


def _host(given: Any) -> str:
    host = _text(given)
    try:
        ip_address(host)
    except ValueError:
        if not re.fullmatch(r"[^\s:/?#@\[\]]+", host):
            raise ValueError("is no host name or address (a port goes to REDIS_PORT)") from None
    return host


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def parse(given: Any) -> int:
        text = str(given)
        if not re.fullmatch("[0-9]{1,10}", text) or not low <= int(text) <= high:
            raise ValueError(f"is no integer from {low} to {high}")
        return int(text)

    return parse


def _switch(given: Any) -> bool:
    word = str(given).lower()
    if word not in ("1", "true", "yes", "on", "0", "false", "no", "off"):
        raise ValueError("is neither true nor false")
    return word in ("1", "true", "yes", "on")


def _rate(given: Any) -> RateLimit:
    found = re.fullmatch(r"([0-9]{1,7})/([0-9]{1,5})", _text(given))
    if found:
        with suppress(InvalidAmountError):
            return RateLimit(int(found[1]), int(found[2]))
    raise ValueError("is no HITS/SECONDS, as 100/60, of 1000000/86400 at most")


def _networks(given: Any) -> tuple[Network, ...]:
    try:
        return tuple(map(ip_network, _words(given)))
    except ValueError:
        raise ValueError("is no list of addresses or networks, as 10.0.0.0/8, ::1") from None


def _origins(given: Any) -> tuple[str, ...]:
    origins = _words(given)
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"https?://[^\s/?#@,]+", origin):
            raise ValueError("is neither * nor a list of origins, as https://example.org")
    return origins


def _hosts(given: Any) -> tuple[str, ...]:
    try:
        return tuple(map(normalize, _words(given)))
    except ValueError as error:
        raise ValueError(
            "is not a list of host names without scheme and port, as example.org, or .example.net "
            f"with all below it: {error}"
        ) from error


def _root_path(given: Any) -> str:
    path = _text(given).rstrip("/")
    if path and not is_root_path(path):
        raise ValueError("is no path such as /counter, of letters, digits, . _ ~ and -")
    return path


def is_root_path(text: str) -> bool:
    """Whether links may begin with this: a path of plain segments, which leads to no other host."""
    return len(text) <= 255 and _ROOT_PATH.fullmatch(text) is not None


def _words(given: Any) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[\s,]+", _text(given)) if word)


def _admin_key(given: Any) -> str:
    key = _text(given)
    if not re.fullmatch(r"[!-~]{16,255}", key):
        raise ValueError("is not 16 to 255 printable ASCII characters without spaces")
    return key


def _one_of(*words: str) -> Callable[[Any], str]:
    def parse(given: Any) -> str:
        if given not in words:
            raise ValueError(f"is none of {', '.join(words)}")
        return str(given)

    return parse


def _secret_file(given: Any) -> str:
    try:
        # One trailing line end belongs to the file, not to the secret.
        return Path(_text(given)).read_text("utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        # The value may be the secret itself, given in place of its file.
        raise ValueError(f"names a file that cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError("names a file that is not UTF-8 text") from None


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(
            "REDIS_URL",
            _url,
            None,
            "Where the store is: `redis://`, `rediss://` (TLS), `valkey://`, `valkeys://` (TLS) or "
            "`unix://`. Wins over `REDIS_HOST`, `REDIS_PORT` and `REDIS_DB`.",
        ),
        Setting("REDIS_HOST", _host, "localhost", "Host name or address of the store."),
        Setting("REDIS_PORT", _integer(1, 65535), 6379, "Port of the store, 1 to 65535."),
        Setting("REDIS_DB", _integer(0, 2**31 - 1), 0, "Number of the database."),
        Setting("REDIS_USERNAME", _text, None, "User name, where the store has ACLs."),
        Setting("REDIS_PASSWORD", _text, None, "Password."),
        Setting(
            "REDIS_PASSWORD_FILE",
            _secret_file,
            None,
            "File that holds the password, for example a Docker secret.",
        ),
        Setting("COUNTER_NAME", _own_name, "visits", "The counter behind `/count`."),
        Setting(
            "COUNTER_ENABLED",
            _switch,
            True,
            "Whether an app of yours counts. `false` is for tests without a store: pages work, "
            "`hit()` and `counted()` count nothing, `visits()` is `None`.",
        ),
        Setting(
            "COUNTER_PREFIX", check_prefix, DEFAULT_PREFIX, "What the keys in the store begin with."
        ),
        Setting(
            "COUNTER_TIMEOUT",
            check_timeout,
            DEFAULT_TIMEOUT,
            "Seconds that a count may take at the most, 0.01 to 60.",
        ),
        Setting(
            "COUNTER_DURABILITY",
            check_durability,
            "memory",
            "What a count waits for: `memory`, the store's answer; `fsync`, its disk; `replica`, "
            "a replica.",
        ),
        Setting(
            "COUNTER_ON_OUTAGE",
            _one_of("reject", "spool"),
            "reject",
            "What becomes of a count that the store does not take: `reject` says so; `spool` "
            "writes it down and counts it later.",
        ),
        Setting(
            "COUNTER_SPOOL_DIR",
            _text,
            None,
            "Folder of the spool, on a disk that outlives the process; `spool` needs it.",
        ),
        Setting(
            "COUNTER_SPOOL_MAX_MB",
            _integer(1, 10_000),
            64,
            "Megabytes that the spool may take, 1 to 10000; what no longer fits is rejected.",
        ),
        Setting(
            "COUNTER_DATA_DIR",
            _text,
            None,
            "Folder of the embedded store, by default in the user's data folder.",
        ),
        Setting(
            "COUNTER_AUTO_CREATE",
            _switch,
            True,
            "Whether a hit over HTTP makes a counter that does not exist: `true` or `false`.",
        ),
        Setting(
            "COUNTER_MAX_COUNTERS",
            _integer(1, 1_000_000_000),
            10_000,
            "How many counters there may be before HTTP makes no more, 1 to 1000000000.",
        ),
        Setting(
            "COUNTER_ADMIN_KEY",
            _admin_key,
            None,
            "What sets and deletes counters over HTTP, 16 to 255 printable characters; without it "
            "nobody may.",
        ),
        Setting(
            "COUNTER_ADMIN_KEY_FILE",
            lambda given: _admin_key(_secret_file(given)),
            None,
            "File that holds the admin key.",
        ),
        Setting(
            "COUNTER_VISITORS",
            _switch,
            True,
            "Whether unique visitors are counted, by a hash of address and user agent that is "
            "salted anew each day: `true` or `false`.",
        ),
        Setting(
            "COUNTER_RESPECT_DNT",
            _switch,
            True,
            "Whether those who send `DNT: 1` or `Sec-GPC: 1` are left out of the unique visitors.",
        ),
        Setting(
            "COUNTER_IGNORE_BOTS",
            _switch,
            False,
            "Whether crawlers and other programs that are known by their user agent are not "
            "counted: `true` or `false`; `true` needs the package crawler-user-agents.",
        ),
        Setting(
            "COUNTER_VISITOR_WINDOW",
            _integer(0, 86_400),
            0,
            "Seconds within which the same visitor counts once, 0 to 86400; 0: each visit counts.",
        ),
        Setting(
            "COUNTER_RATE_LIMIT",
            _rate,
            None,
            "How often one address may count, over all processes: `100/60` is up to 100 hits at "
            "once, and as many in 60 seconds; empty: as often as it likes.",
        ),
        Setting(
            "COUNTER_IDEMPOTENCY_MEMORY",
            _integer(1, 100),
            80,
            "Percentage of the store's memory limit (`maxmemory`) from which on a hit with a new "
            "idempotency key is refused, 1 to 100, so that the others still count.",
        ),
        Setting(
            "COUNTER_TRUSTED_PROXIES",
            _networks,
            (),
            "Addresses and networks of proxies whose `X-Forwarded-For`, `X-Forwarded-Proto` and "
            "`X-Forwarded-Prefix` are believed, with commas between.",
        ),
        Setting(
            "COUNTER_ROOT_PATH",
            _root_path,
            "",
            "Path under which a proxy publishes the service and which it removes from requests, as "
            "`/counter`: all links begin with it. `X-Forwarded-Prefix` of a trusted proxy wins.",
        ),
        Setting(
            "COUNTER_IPV6_PREFIX",
            _integer(32, 128),
            64,
            "Bits of an IPv6 address that tell clients and visitors apart, 32 to 128: a provider "
            "gives each client at least a /64, often a /56.",
        ),
        Setting(
            "COUNTER_TRUSTED_HOSTS",
            _hosts,
            (),
            "Host names that requests may be for, without ports and with commas between, "
            "`.example.org` with all below it; empty: any.",
        ),
        Setting(
            "COUNTER_CORS_ORIGINS",
            _origins,
            (),
            "Origins whose scripts may read counters and what their hits are answered, as "
            "`https://example.org`, with commas between, or `*`.",
        ),
        Setting(
            "COUNTER_MAX_LISTENERS",
            _integer(0, 10_000),
            100,
            "How many may listen to `/live` in each worker process of the production server, 0 to "
            "10000; 0: the pages' numbers stand still.",
        ),
        Setting(
            "COUNTER_SHOW_STORE",
            _switch,
            False,
            "Whether `/stats` shows every visitor the state of the store, with its version, memory "
            "and clients: `true` or `false`.",
        ),
        Setting(
            "COUNTER_LOG_FORMAT",
            _one_of("text", "json"),
            "text",
            "How the service writes its log: `text`, or `json`, an object a line, which needs the "
            "package python-json-logger.",
        ),
        Setting(
            "COUNTER_ACCESS_LOG",
            _switch,
            False,
            "Whether the log has a line for each request, and not only for those that failed: "
            "`true` or `false`.",
        ),
        Setting(
            "COUNTER_TRACING",
            _switch,
            False,
            "Whether requests' spans go to OpenTelemetry, which the extra `traces` is for and the "
            "`OTEL_*` variables set up: `true` or `false`.",
        ),
        Setting(
            "COUNTER_METRICS",
            _switch,
            True,
            "Whether `/metrics` answers: `true` or `false`.",
        ),
        Setting(
            "COUNTER_METRICS_TOKEN",
            _admin_key,
            None,
            "What a reader of `/metrics` sends as `Authorization: Bearer`, 16 to 255 printable "
            "characters; without it everybody may read them who reaches the service.",
        ),
        Setting(
            "COUNTER_METRICS_TOKEN_FILE",
            lambda given: _admin_key(_secret_file(given)),
            None,
            "File that holds the token.",
        ),
        Setting(
            "COUNTER_METRICS_DIR",
            _text,
            None,
            "Folder in which the worker processes of another server than `flask-redis-counter "
            "serve` add up their metrics; empty: each has its own.",
        ),
        Setting(
            "COUNTER_FAST_PATH",
            _switch,
            True,
            "The production server answers programs ahead of Flask's routing: `true` or `false`.",
        ),
    )
}
