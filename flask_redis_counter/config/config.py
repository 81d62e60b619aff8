"""The loaded settings of one app."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any
from urllib.parse import quote, unquote

from ..errors import ConfigurationError, CounterError, printable
from ..limits import Limits
from ..store.url import split_url
from ..validation import Durability, OnFull
from .service_links import is_service_link
from .settings import SETTINGS, Proxy, Setting


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one app, parsed and validated.

    :ivar redis_url: URL of the store, with credentials.
    :ivar name: the counter behind ``/count``.
    :ivar enabled: whether the app's pages count and read.
    :ivar prefix: prefix of all keys in the store.
    :ivar timeout: seconds that a hit may take.
    :ivar durability: where a hit must be stored before it is acknowledged.
    :ivar journal_max: maximum number of acknowledged calls that a process keeps to send them again.
    :ivar journal_full: what happens to a hit when there are as many: ``drop`` or ``reject``.
    :ivar spool_dir: folder of the spool; None: hits are rejected during an outage.
    :ivar spool_max_mb: largest size of the spool, in megabytes.
    :ivar fast_path: whether the service answers hits and reads of programs ahead of Flask.
    :ivar limits: limits for hits on the app's own counter and by its views.
    :ivar named_limits: limits for hits on counters named in the URL.
    :ivar max_counters: number of counters at which requests over HTTP create no more.
    :ivar admin_key: key that allows setting and deleting over HTTP; None: not allowed.
    :ivar visitors: whether unique visitors are counted.
    :ivar respect_dnt: whether visitors that send ``DNT`` or ``Sec-GPC`` are not counted as such.
    :ivar ignore_bots: whether hits of known crawlers are skipped.
    :ivar trusted_proxies: networks of proxies whose ``X-Forwarded-*`` headers are trusted;
        ``unix``: those that connect to a Unix socket.
    :ivar root_path: path under which a proxy publishes the service, e.g. ``/counter``, or empty.
    :ivar ipv6_prefix: number of significant bits of a client's IPv6 address.
    :ivar trusted_hosts: host names that are accepted in requests; empty: any.
    :ivar cors_origins: origins whose scripts may read counters and replies to hits.
    :ivar max_connections: maximum number of connections, per worker process.
    :ivar max_listeners: maximum number of listeners to live events, per worker process.
    :ivar show_store: whether the statistics page shows the state of the store.
    :ivar log_json: whether the log is JSON.
    :ivar access_log: whether the log has a line for each request.
    :ivar tracing: whether spans of requests are sent to OpenTelemetry.
    :ivar metrics: whether ``/metrics`` exists.
    :ivar metrics_token: bearer token for ``/metrics``; None: no token is needed.
    :ivar metrics_dir: folder in which worker processes add up metrics; None: each has its own.
    """

    redis_url: str
    name: str
    enabled: bool
    prefix: str
    timeout: float
    durability: Durability
    journal_max: int
    journal_full: OnFull
    spool_dir: str | None
    spool_max_mb: int
    fast_path: bool
    limits: Limits
    named_limits: Limits
    max_counters: int
    admin_key: str | None
    visitors: bool
    respect_dnt: bool
    ignore_bots: bool
    trusted_proxies: tuple[Proxy, ...]
    root_path: str
    ipv6_prefix: int
    trusted_hosts: tuple[str, ...]
    cors_origins: tuple[str, ...]
    max_connections: int
    max_listeners: int
    show_store: bool
    log_json: bool
    access_log: bool
    tracing: bool
    metrics: bool
    metrics_token: str | None
    metrics_dir: str | None

    @classmethod
    def load(cls, *sources: Mapping[str, Any], store_given: bool = False) -> Config:
        """Load and validate the settings.

        An empty text counts as not set. Service links, and settings that another setting
        overrides, are ignored.

        :param sources: mappings of settings; an earlier one wins.
        :param store_given: whether the caller has a store, which overrides ``REDIS_…``.
        :raises ConfigurationError: a value is malformed, out of bounds or contradictory.
        """
        given: dict[str, Any] = {}
        for source in reversed(sources):
            for name in SETTINGS:
                value = source.get(name)
                if value not in (None, "") and not is_service_link(name, value):
                    given[name] = value
        for name in _list_overridden(given, store_given):
            given.pop(name, None)
        for secret in ("REDIS_PASSWORD", "COUNTER_ADMIN_KEY", "COUNTER_METRICS_TOKEN"):
            if secret in given and f"{secret}_FILE" in given:
                problem = f"{secret} is set, too: set one of the two"
                raise ConfigurationError(f"{secret}_FILE", problem)
        values = {name: _parse(setting, given) for name, setting in SETTINGS.items()}
        uses_spool = values["COUNTER_ON_OUTAGE"] == "spool"
        if uses_spool and values["COUNTER_SPOOL_DIR"] is None:
            raise ConfigurationError(
                "COUNTER_SPOOL_DIR", "is not set, but COUNTER_ON_OUTAGE=spool needs it: set it"
            )
        if values["COUNTER_VISITOR_WINDOW"] and not values["COUNTER_VISITORS"]:
            raise ConfigurationError(
                "COUNTER_VISITOR_WINDOW", "needs COUNTER_VISITORS=true: set it"
            )
        if values["COUNTER_IGNORE_BOTS"] and not _is_installed("crawleruseragents"):
            problem = "needs a package: pip install crawler-user-agents"
            raise ConfigurationError("COUNTER_IGNORE_BOTS", problem)
        log_json = values["COUNTER_LOG_FORMAT"] == "json"
        if values["COUNTER_TRACING"] and not _is_installed(
            "opentelemetry.exporter.otlp.proto.http"
        ):
            problem = "needs packages: pip install 'flask-redis-counter[traces]'"
            raise ConfigurationError("COUNTER_TRACING", problem)
        if log_json and not _is_installed("pythonjsonlogger"):
            problem = "json needs a package: pip install python-json-logger"
            raise ConfigurationError("COUNTER_LOG_FORMAT", problem)
        limits = Limits(
            visitor_window=values["COUNTER_VISITOR_WINDOW"] or None,
            rate=values["COUNTER_RATE_LIMIT"],
            idempotency_memory=values["COUNTER_IDEMPOTENCY_MEMORY"],
        )
        return cls(
            redis_url=_build_url(values),
            name=values["COUNTER_NAME"],
            enabled=values["COUNTER_ENABLED"],
            prefix=values["COUNTER_PREFIX"],
            timeout=values["COUNTER_TIMEOUT"],
            durability=values["COUNTER_DURABILITY"],
            journal_max=values["COUNTER_JOURNAL_MAX"],
            journal_full=values["COUNTER_JOURNAL_FULL"],
            spool_dir=values["COUNTER_SPOOL_DIR"] if uses_spool else None,
            spool_max_mb=values["COUNTER_SPOOL_MAX_MB"],
            fast_path=values["COUNTER_FAST_PATH"],
            limits=limits,
            named_limits=replace(
                limits, max_counters=values["COUNTER_MAX_COUNTERS"] * values["COUNTER_AUTO_CREATE"]
            ),
            max_counters=values["COUNTER_MAX_COUNTERS"],
            admin_key=values["COUNTER_ADMIN_KEY"] or values["COUNTER_ADMIN_KEY_FILE"],
            visitors=values["COUNTER_VISITORS"],
            respect_dnt=values["COUNTER_RESPECT_DNT"],
            ignore_bots=values["COUNTER_IGNORE_BOTS"],
            trusted_proxies=values["COUNTER_TRUSTED_PROXIES"],
            root_path=values["COUNTER_ROOT_PATH"],
            ipv6_prefix=values["COUNTER_IPV6_PREFIX"],
            trusted_hosts=values["COUNTER_TRUSTED_HOSTS"],
            cors_origins=values["COUNTER_CORS_ORIGINS"],
            max_connections=values["COUNTER_MAX_CONNECTIONS"],
            max_listeners=values["COUNTER_MAX_LISTENERS"],
            show_store=values["COUNTER_SHOW_STORE"],
            log_json=log_json,
            access_log=values["COUNTER_ACCESS_LOG"],
            tracing=values["COUNTER_TRACING"],
            metrics=values["COUNTER_METRICS"],
            metrics_token=values["COUNTER_METRICS_TOKEN"] or values["COUNTER_METRICS_TOKEN_FILE"],
            metrics_dir=values["COUNTER_METRICS_DIR"] if values["COUNTER_METRICS"] else None,
        )

    @property
    def redacted_url(self) -> str:
        """The store's URL without the password, for logs and messages."""
        parts = split_url(self.redis_url)
        # A user name without a password is often a misplaced password.
        user = f"{parts.username}@" if parts.username and parts.password else ""
        return f"{parts.scheme}://{user}{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def service_id(self) -> str:
        """Identifies the service among others that share a folder with it; contains no secret."""
        return f"{self.redacted_url} {self.prefix}"


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False


def is_store_configured(source: Mapping[str, Any]) -> bool:
    """Return whether the source has the store's address."""
    names = ("REDIS_URL", "REDIS_HOST", "REDIS_PORT")
    return any(source.get(name) and not is_service_link(name, source[name]) for name in names)


def _list_overridden(given: Mapping[str, Any], store_given: bool) -> list[str]:
    """Return the settings that others override."""
    if store_given:
        return [name for name in SETTINGS if name.startswith("REDIS_")]
    url = given.get("REDIS_URL")
    if not isinstance(url, str):
        return []
    overridden = ["REDIS_HOST", "REDIS_PORT", "REDIS_DB"]
    with suppress(ValueError):  # a malformed URL is reported later
        parts = split_url(url)
        overridden += ["REDIS_USERNAME"] if parts.username is not None else []
        overridden += (
            ["REDIS_PASSWORD", "REDIS_PASSWORD_FILE"] if parts.password is not None else []
        )
    return overridden


def _parse(setting: Setting, given: Mapping[str, Any]) -> Any:
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
        # A password must not end up in a log, nor must a URL that may contain one.
        is_secret = any(word in setting.name for word in ("URL", "PASSWORD", "KEY", "TOKEN"))
        shown = "its value" if is_secret else printable(value)
        raise ConfigurationError(setting.name, f"{shown} {error}") from error


def _build_url(values: Mapping[str, Any]) -> str:
    password = values["REDIS_PASSWORD"] or values["REDIS_PASSWORD_FILE"]
    username = values["REDIS_USERNAME"]
    if url := values["REDIS_URL"]:
        parts = split_url(url)
        username = username if parts.username is None else unquote(parts.username)
        password = password if parts.password is None else unquote(parts.password)
        address = parts.netloc.rpartition("@")[2]
        scheme, path, query = parts.scheme, parts.path, parts.query
    else:
        host = values["REDIS_HOST"]
        address = f"[{host}]" if ":" in host else quote(host)
        address += f":{values['REDIS_PORT']}"
        scheme, path, query = "redis", f"/{values['REDIS_DB']}", ""
    credentials = ""
    if username or password:
        credentials = f"{quote(username or '', safe='')}:{quote(password or '', safe='')}@"
    return f"{scheme}://{credentials}{address}{path}" + (f"?{query}" if query else "")
