"""Declarations of all settings: name, parser with bounds, default and help text."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from ..errors import InvalidAmountError
from ..hosts import normalize
from ..limits import RateLimit
from ..store.url import check_url
from ..validation import (
    DEFAULT_PREFIX,
    DEFAULT_TIMEOUT,
    FORMAT_SUFFIXES,
    URL_SAFE_NAME,
    check_durability,
    check_name,
    check_prefix,
    check_timeout,
)

#: In ``COUNTER_TRUSTED_PROXIES``: the peers of a Unix socket, which have no address.
UNIX: Final = "unix"

Proxy: TypeAlias = IPv4Network | IPv6Network | Literal["unix"]

_ROOT_PATH = re.compile(r"(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]+)+")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    :ivar name: the environment variable and the key in ``app.config``.
    :ivar parse: converts a given value, or raises :class:`ValueError`.
    :ivar default: the value if none is given.
    :ivar help: its effect, with unit and bounds.
    """

    name: str
    parse: Callable[[Any], Any]
    default: Any
    help: str


def _string(given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError("is not a string")
    return given


def _own_name(given: Any) -> str:
    name = check_name(given)
    if not URL_SAFE_NAME.fullmatch(name):
        raise ValueError(
            f"is . or .., or ends in one of {', '.join(FORMAT_SUFFIXES)}: its URL is ambiguous"
        )
    return name


def _url(given: Any) -> str:
    return check_url(_string(given))


def _host(given: Any) -> str:
    host = _string(given)
    try:
        ip_address(host)
    except ValueError:
        if not re.fullmatch(r"[^\s:/?#@\[\]]+", host):
            raise ValueError("is not a host name or address (set a port with REDIS_PORT)") from None
    return host


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def parse(given: Any) -> int:
        text = str(given)
        if not re.fullmatch("[0-9]{1,10}", text) or not low <= int(text) <= high:
            raise ValueError(f"is not an integer from {low} to {high}")
        return int(text)

    return parse


def _boolean(given: Any) -> bool:
    word = str(given).lower()
    if word not in ("1", "true", "yes", "on", "0", "false", "no", "off"):
        raise ValueError("is not true or false")
    return word in ("1", "true", "yes", "on")


def _rate(given: Any) -> RateLimit:
    found = re.fullmatch(r"([0-9]{1,7})/([0-9]{1,5})", _string(given))
    if found:
        with suppress(InvalidAmountError):
            return RateLimit(int(found[1]), int(found[2]))
    raise ValueError("is not HITS/SECONDS, such as 100/60, up to 1000000/86400")


def _proxies(given: Any) -> tuple[Proxy, ...]:
    try:
        return tuple(UNIX if word == UNIX else ip_network(word) for word in _words(given))
    except ValueError:
        raise ValueError(
            "is not a list of addresses or networks, such as 10.0.0.0/8, ::1, or of unix for a "
            "Unix socket"
        ) from None


def _origins(given: Any) -> tuple[str, ...]:
    origins = _words(given)
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"https?://[^\s/?#@,]+", origin):
            raise ValueError("is not * or a list of origins, such as https://example.org")
    return origins


def _hosts(given: Any) -> tuple[str, ...]:
    try:
        return tuple(map(normalize, _words(given)))
    except ValueError as error:
        raise ValueError(
            "is not a list of host names without scheme and port, such as example.org, or "
            f".example.net with its subdomains: {error}"
        ) from error


def _root_path(given: Any) -> str:
    path = _string(given).rstrip("/")
    if path and not is_root_path(path):
        raise ValueError("is not a path such as /counter, of letters, digits, . _ ~ and -")
    return path


def is_root_path(text: str) -> bool:
    """Return whether a text is a valid root path: plain segments, without a host."""
    return len(text) <= 255 and _ROOT_PATH.fullmatch(text) is not None


def _words(given: Any) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[\s,]+", _string(given)) if word)


def _admin_key(given: Any) -> str:
    key = _string(given)
    if not re.fullmatch(r"[!-~]{16,255}", key):
        raise ValueError("is not 16 to 255 printable ASCII characters without spaces")
    return key


def _one_of(*words: str) -> Callable[[Any], str]:
    def parse(given: Any) -> str:
        if given not in words:
            raise ValueError(f"is not one of {', '.join(words)}")
        return str(given)

    return parse


def _secret_file(given: Any) -> str:
    try:
        # The line end at the end of the file is not part of the secret.
        return Path(_string(given)).read_text("utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        # The value may be the secret itself, given instead of its file.
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
            "URL of the store: `redis://`, `rediss://` (TLS), `valkey://`, `valkeys://` (TLS) "
            "or `unix://`; behind Sentinels `redis+sentinel://HOST:PORT,HOST:PORT/SERVICE` or "
            "`rediss+sentinel://` (TLS); of a cluster `redis+cluster://HOST:PORT,HOST:PORT` or "
            "`rediss+cluster://` (TLS). Overrides `REDIS_HOST`, `REDIS_PORT` and `REDIS_DB`.",
        ),
        Setting("REDIS_HOST", _host, "localhost", "Host name or address of the store."),
        Setting("REDIS_PORT", _integer(1, 65535), 6379, "Port of the store, 1 to 65535."),
        Setting(
            "REDIS_DB",
            _integer(0, 2**31 - 1),
            0,
            "Number of the store's database.",
        ),
        Setting(
            "REDIS_USERNAME",
            _string,
            None,
            "User name, if the store has ACLs.",
        ),
        Setting(
            "REDIS_PASSWORD",
            _string,
            None,
            "Password of the store's user.",
        ),
        Setting(
            "REDIS_PASSWORD_FILE",
            _secret_file,
            None,
            "File that contains the password, such as a Docker secret.",
        ),
        Setting("COUNTER_NAME", _own_name, "visits", "The counter behind `/count`."),
        Setting(
            "COUNTER_ENABLED",
            _boolean,
            True,
            "Whether your app counts: `true` or `false`. `false` is for tests without a store: "
            "pages work, `hit()` and `counted()` count nothing, `visits()` is `None`.",
        ),
        Setting(
            "COUNTER_PREFIX",
            check_prefix,
            DEFAULT_PREFIX,
            "Prefix of all keys in the store.",
        ),
        Setting(
            "COUNTER_TIMEOUT",
            check_timeout,
            DEFAULT_TIMEOUT,
            "Seconds that a hit may take, 0.01 to 60.",
        ),
        Setting(
            "COUNTER_DURABILITY",
            check_durability,
            "memory",
            "When a hit is acknowledged: `memory`, when the store has executed it; `fsync`, when "
            "it is on the store's disk; `replica`, when it is on a replica; `replica:2` to "
            "`replica:5`, when it is on that number of replicas.",
        ),
        Setting(
            "COUNTER_JOURNAL_MAX",
            _integer(0, 1_000_000),
            20_000,
            "Number of acknowledged batches that each process keeps until the store cannot lose "
            "them, so that it can send them again after a failover or a restart, 0 to 1000000; "
            "0: none.",
        ),
        Setting(
            "COUNTER_JOURNAL_FULL",
            _one_of("drop", "reject"),
            "drop",
            "Handling of a hit when the store has not confirmed that many: `drop` counts it and "
            "drops the oldest batch, with a warning; `reject` returns an error.",
        ),
        Setting(
            "COUNTER_ON_OUTAGE",
            _one_of("reject", "spool"),
            "reject",
            "Handling of a hit that the store does not accept: `reject` returns an error; "
            "`spool` writes the hit to disk and counts it later.",
        ),
        Setting(
            "COUNTER_SPOOL_DIR",
            _string,
            None,
            "Folder of the spool, on a disk that outlives the process. Required for `spool`.",
        ),
        Setting(
            "COUNTER_SPOOL_MAX_MB",
            _integer(1, 10_000),
            64,
            "Largest size of the spool in megabytes, 1 to 10000. Hits that no longer fit are "
            "rejected.",
        ),
        Setting(
            "COUNTER_DATA_DIR",
            _string,
            None,
            "Folder of the embedded store; by default in the user's data folder.",
        ),
        Setting(
            "COUNTER_AUTO_CREATE",
            _boolean,
            True,
            "Whether a hit over HTTP creates a counter that does not exist: `true` or `false`.",
        ),
        Setting(
            "COUNTER_MAX_COUNTERS",
            _integer(1, 1_000_000_000),
            10_000,
            "Number of counters at which requests over HTTP create no more, 1 to 1000000000.",
        ),
        Setting(
            "COUNTER_ADMIN_KEY",
            _admin_key,
            None,
            "Key that allows setting and deleting counters over HTTP, 16 to 255 printable "
            "characters. Without a key this is not possible.",
        ),
        Setting(
            "COUNTER_ADMIN_KEY_FILE",
            lambda given: _admin_key(_secret_file(given)),
            None,
            "File that contains the admin key.",
        ),
        Setting(
            "COUNTER_VISITORS",
            _boolean,
            True,
            "Whether unique visitors are counted: `true` or `false`. They are identified by a "
            "hash of address and user agent, with a new salt each day.",
        ),
        Setting(
            "COUNTER_RESPECT_DNT",
            _boolean,
            True,
            "Whether visitors that send `DNT: 1` or `Sec-GPC: 1` are excluded from the unique "
            "visitors: `true` or `false`.",
        ),
        Setting(
            "COUNTER_IGNORE_BOTS",
            _boolean,
            False,
            "Whether hits of crawlers and other programs with a known user agent are skipped: "
            "`true` or `false`. `true` needs the package crawler-user-agents.",
        ),
        Setting(
            "COUNTER_VISITOR_WINDOW",
            _integer(0, 86_400),
            0,
            "Seconds within which a visitor counts once, 0 to 86400. With 0 each visit counts.",
        ),
        Setting(
            "COUNTER_RATE_LIMIT",
            _rate,
            None,
            "Hits that one address may send, over all processes: with `100/60` up to 100 at "
            "once, and 100 per 60 seconds. Empty: no limit.",
        ),
        Setting(
            "COUNTER_IDEMPOTENCY_MEMORY",
            _integer(1, 100),
            80,
            "Percentage of the store's memory limit (`maxmemory`) at which hits with a new "
            "idempotency key are rejected, so that other hits still count, 1 to 100.",
        ),
        Setting(
            "COUNTER_TRUSTED_PROXIES",
            _proxies,
            (),
            "Addresses and networks of proxies whose `X-Forwarded-For`, `X-Forwarded-Proto` and"
            " `X-Forwarded-Prefix` are trusted, separated by commas. `unix`: the proxy connects "
            "to a Unix socket.",
        ),
        Setting(
            "COUNTER_ROOT_PATH",
            _root_path,
            "",
            "Path under which a proxy publishes the service and that it removes from requests, "
            "such as `/counter`. All links begin with it. `X-Forwarded-Prefix` of a trusted "
            "proxy overrides it.",
        ),
        Setting(
            "COUNTER_IPV6_PREFIX",
            _integer(32, 128),
            64,
            "Number of bits of an IPv6 address that identify clients and visitors, 32 to 128."
            " Providers give each client at least a /64, often a /56.",
        ),
        Setting(
            "COUNTER_TRUSTED_HOSTS",
            _hosts,
            (),
            "Host names that are accepted in requests, without ports, separated by commas. "
            "`.example.org` includes its subdomains. Empty: any.",
        ),
        Setting(
            "COUNTER_CORS_ORIGINS",
            _origins,
            (),
            "Origins whose scripts may read counters and the replies to their hits, such as "
            "`https://example.org`, separated by commas, or `*`.",
        ),
        Setting(
            "COUNTER_MAX_CONNECTIONS",
            _integer(10, 100_000),
            4096,
            "Number of connections of each worker process of the production server, 10 to 100000. "
            "Beyond it, those that have waited longest for a request are closed.",
        ),
        Setting(
            "COUNTER_MAX_LISTENERS",
            _integer(0, 10_000),
            1000,
            "Number of clients that may listen to `/live` in each worker process of the "
            "production server, 0 to 10000. With 0 the numbers on pages are not updated live.",
        ),
        Setting(
            "COUNTER_SHOW_STORE",
            _boolean,
            False,
            "Whether `/stats` shows the store's version, memory and number of clients to all "
            "visitors: `true` or `false`.",
        ),
        Setting(
            "COUNTER_LOG_FORMAT",
            _one_of("text", "json"),
            "text",
            "Format of the service's log: `text`, or `json` with one object per line. `json` "
            "needs the package python-json-logger.",
        ),
        Setting(
            "COUNTER_ACCESS_LOG",
            _boolean,
            False,
            "Whether the log has a line for each request, and not only for failed ones: `true` "
            "or `false`.",
        ),
        Setting(
            "COUNTER_TRACING",
            _boolean,
            False,
            "Whether spans of requests are sent to OpenTelemetry: `true` or `false`. `true` "
            "needs the extra `traces`; the `OTEL_*` variables configure it.",
        ),
        Setting(
            "COUNTER_METRICS",
            _boolean,
            True,
            "Whether the service has `/metrics`: `true` or `false`.",
        ),
        Setting(
            "COUNTER_METRICS_TOKEN",
            _admin_key,
            None,
            "Token that `/metrics` requires in `Authorization: Bearer`, 16 to 255 printable "
            "characters. Without a token the metrics are public.",
        ),
        Setting(
            "COUNTER_METRICS_TOKEN_FILE",
            lambda given: _admin_key(_secret_file(given)),
            None,
            "File that contains the metrics token.",
        ),
        Setting(
            "COUNTER_METRICS_DIR",
            _string,
            None,
            "Folder in which worker processes add up their metrics, under servers other than "
            "`flask-redis-counter serve`. Empty: each process has its own metrics.",
        ),
        Setting(
            "COUNTER_FAST_PATH",
            _boolean,
            True,
            "Whether the production server answers hits that get JSON, and reads of single values, "
            "ahead of Flask: `true` or `false`.",
        ),
    )
}
