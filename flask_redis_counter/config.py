"""Every setting, once: its name, its default, its bounds and what it does."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from .errors import ConfigurationError, CounterError
from .rules import (
    DEFAULT_DEADLINE,
    DEFAULT_PREFIX,
    Durability,
    check_deadline,
    check_durability,
    check_name,
    check_prefix,
    check_url,
)


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
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot be read: {error}") from error


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(
            "REDIS_URL",
            _url,
            None,
            "Where the store is: `redis://`, `rediss://` (TLS) or `unix://`. "
            "Wins over `REDIS_HOST`, `REDIS_PORT` and `REDIS_DB`.",
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
        Setting("COUNTER_NAME", check_name, "visits", "The counter behind `/count`."),
        Setting(
            "COUNTER_PREFIX", check_prefix, DEFAULT_PREFIX, "What the keys in the store begin with."
        ),
        Setting(
            "COUNTER_DEADLINE",
            check_deadline,
            DEFAULT_DEADLINE,
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
            "COUNTER_SPOOL_MB",
            _integer(1, 10_000),
            64,
            "Megabytes that the spool may take, 1 to 10000; what no longer fits is rejected.",
        ),
        Setting(
            "COUNTER_FAST_PATH",
            _switch,
            True,
            "The production server answers programs ahead of Flask's routing: `true` or `false`.",
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Config:
    """The settings, checked.

    :ivar redis_url: where the store is, with its credentials.
    :ivar name: the counter behind ``/count``.
    :ivar prefix: what the keys begin with.
    :ivar deadline: seconds that a count may take.
    :ivar durability: what a count waits for.
    :ivar spool_dir: where counts wait that the store does not take; None: they are rejected.
    :ivar spool_mb: how many megabytes they may take.
    :ivar fast_path: whether the service answers programs ahead of Flask's routing.
    """

    redis_url: str
    name: str
    prefix: str
    deadline: float
    durability: Durability
    spool_dir: str | None
    spool_mb: int
    fast_path: bool

    @classmethod
    def load(cls, *sources: Mapping[str, Any]) -> Config:
        """Read the settings; an earlier source wins, an empty text counts as not given.

        :raises ConfigurationError: a value is malformed, out of bounds or contradictory.
        """
        given: dict[str, Any] = {}
        for source in reversed(sources):
            for name in SETTINGS:
                if source.get(name) not in (None, ""):
                    given[name] = source[name]
        if "REDIS_PASSWORD" in given and "REDIS_PASSWORD_FILE" in given:
            raise ConfigurationError(
                "REDIS_PASSWORD_FILE", "REDIS_PASSWORD is set as well: set one of the two"
            )
        values = {name: _parsed(setting, given) for name, setting in SETTINGS.items()}
        spools = values["COUNTER_ON_OUTAGE"] == "spool"
        if spools and values["COUNTER_SPOOL_DIR"] is None:
            raise ConfigurationError("COUNTER_SPOOL_DIR", "COUNTER_ON_OUTAGE=spool needs it")
        return cls(
            redis_url=_store_url(values),
            name=values["COUNTER_NAME"],
            prefix=values["COUNTER_PREFIX"],
            deadline=values["COUNTER_DEADLINE"],
            durability=values["COUNTER_DURABILITY"],
            spool_dir=values["COUNTER_SPOOL_DIR"] if spools else None,
            spool_mb=values["COUNTER_SPOOL_MB"],
            fast_path=values["COUNTER_FAST_PATH"],
        )

    @property
    def shown_url(self) -> str:
        """The store's URL without its password, for logs and messages."""
        parts = urlsplit(self.redis_url)
        user = f"{parts.username}@" if parts.username else ""
        return f"{parts.scheme}://{user}{parts.netloc.rpartition('@')[2]}{parts.path}"


def names_a_store(source: Mapping[str, Any]) -> bool:
    """Whether the source says where the store is."""
    return any(source.get(name) for name in ("REDIS_URL", "REDIS_HOST", "REDIS_PORT"))


def _parsed(setting: Setting, given: Mapping[str, Any]) -> Any:
    if setting.name not in given:
        return setting.default
    value = given[setting.name]
    try:
        return setting.parse(value)
    except ConfigurationError as error:
        raise ConfigurationError(setting.name, error.problem) from error
    except CounterError as error:
        raise ConfigurationError(setting.name, f"{error}") from error
    except ValueError as error:
        # A password must not end up in a log, nor a URL that may hold one.
        secret = setting.name in ("REDIS_URL", "REDIS_PASSWORD")
        shown = "its value" if secret else f"{value!r:.100}"
        raise ConfigurationError(setting.name, f"{shown} {error}") from error


def _store_url(values: Mapping[str, Any]) -> str:
    password = values["REDIS_PASSWORD"] or values["REDIS_PASSWORD_FILE"]
    username = values["REDIS_USERNAME"]
    if url := values["REDIS_URL"]:
        parts = urlsplit(url)
        username = username if parts.username is None else unquote(parts.username)
        password = password if parts.password is None else unquote(parts.password)
        place = parts.netloc.rpartition("@")[2]
        scheme, path, query = parts.scheme, parts.path, parts.query
    else:
        host = values["REDIS_HOST"]
        place = f"[{host}]" if ":" in host else quote(host)
        place += f":{values['REDIS_PORT']}"
        scheme, path, query = "redis", f"/{values['REDIS_DB']}", ""
    credentials = ""
    if username or password:
        credentials = f"{quote(username or '', safe='')}:{quote(password or '', safe='')}@"
    return f"{scheme}://{credentials}{place}{path}" + (f"?{query}" if query else "")
