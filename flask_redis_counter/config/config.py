"""The settings of one app, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ..errors import ConfigurationError, CounterError, printable
from ..limits import Limits
from ..validation import Durability
from .service_links import is_service_link
from .settings import SETTINGS, Network, Setting


@dataclass(frozen=True, slots=True)
class Config:
    """The settings, checked.

    :ivar redis_url: where the store is, with its credentials.
    :ivar name: the counter behind ``/count``.
    :ivar enabled: whether an app's pages count and read at all.
    :ivar prefix: what the keys begin with.
    :ivar timeout: seconds that a count may take.
    :ivar durability: what a count waits for.
    :ivar spool_dir: where counts wait that the store does not take; None: they are rejected.
    :ivar spool_max_mb: how many megabytes they may take.
    :ivar fast_path: whether the service answers programs ahead of Flask's routing.
    :ivar limits: what hits on the app's own counter, and of its views, are counted under.
    :ivar named_limits: what hits on any counter are that somebody names over HTTP.
    :ivar max_counters: how many counters there may be before an administrator makes no more.
    :ivar admin_key: what an administrator sends; None: nobody is one.
    :ivar visitors: whether unique visitors are counted.
    :ivar respect_dnt: whether those are left out who ask for it.
    :ivar ignore_bots: whether known crawlers are no visitors.
    :ivar trusted_proxies: whose word on a client's address is taken.
    :ivar root_path: path under which a proxy publishes the service, empty or as ``/counter``.
    :ivar ipv6_prefix: how many bits of an IPv6 address tell clients apart.
    :ivar trusted_hosts: which hosts requests may be for; empty: any.
    :ivar max_listeners: how many may listen to events, in each worker process.
    :ivar cors_origins: which origins' scripts may read counters and answers to hits.
    :ivar show_store: whether the page of statistics shows the state of the store.
    :ivar log_json: whether the log is JSON.
    :ivar access_log: whether it has a line for each request.
    :ivar tracing: whether requests' spans go to OpenTelemetry.
    :ivar metrics: whether there are metrics.
    :ivar metrics_token: what a reader of the metrics sends; None: everybody may read them.
    :ivar metrics_dir: where the worker processes add them up; None: each has its own.
    """

    redis_url: str
    name: str
    enabled: bool
    prefix: str
    timeout: float
    durability: Durability
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
    trusted_proxies: tuple[Network, ...]
    root_path: str
    ipv6_prefix: int
    trusted_hosts: tuple[str, ...]
    cors_origins: tuple[str, ...]
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
        """Read the settings; an earlier source wins, an empty text counts as not given.

        A setting that loses against another one is not looked at, nor is a service link.

        :param store_given: whether the store is known already, and all ``REDIS_…`` lose.
        :raises ConfigurationError: a value is malformed, out of bounds or contradictory.
        """
        given: dict[str, Any] = {}
        for source in reversed(sources):
            for name in SETTINGS:
                value = source.get(name)
                if value not in (None, "") and not is_service_link(name, value):
                    given[name] = value
        for name in _losing(given, store_given):
            given.pop(name, None)
        for secret in ("REDIS_PASSWORD", "COUNTER_ADMIN_KEY", "COUNTER_METRICS_TOKEN"):
            if secret in given and f"{secret}_FILE" in given:
                problem = f"{secret} is set as well: set one of the two"
                raise ConfigurationError(f"{secret}_FILE", problem)
        values = {name: _parsed(setting, given) for name, setting in SETTINGS.items()}
        spools = values["COUNTER_ON_OUTAGE"] == "spool"
        if spools and values["COUNTER_SPOOL_DIR"] is None:
            raise ConfigurationError("COUNTER_SPOOL_DIR", "COUNTER_ON_OUTAGE=spool needs it")
        if values["COUNTER_VISITOR_WINDOW"] and not values["COUNTER_VISITORS"]:
            raise ConfigurationError("COUNTER_VISITOR_WINDOW", "COUNTER_VISITORS=true is needed")
        if values["COUNTER_IGNORE_BOTS"] and not _is_installed("crawleruseragents"):
            raise ConfigurationError("COUNTER_IGNORE_BOTS", "pip install crawler-user-agents")
        log_json = values["COUNTER_LOG_FORMAT"] == "json"
        if values["COUNTER_TRACING"] and not _is_installed(
            "opentelemetry.exporter.otlp.proto.http"
        ):
            problem = "pip install 'flask-redis-counter[traces]'"
            raise ConfigurationError("COUNTER_TRACING", problem)
        if log_json and not _is_installed("pythonjsonlogger"):
            raise ConfigurationError("COUNTER_LOG_FORMAT", "pip install python-json-logger")
        limits = Limits(
            visitor_window=values["COUNTER_VISITOR_WINDOW"] or None,
            rate=values["COUNTER_RATE_LIMIT"],
            idempotency_memory=values["COUNTER_IDEMPOTENCY_MEMORY"],
        )
        return cls(
            redis_url=_store_url(values),
            name=values["COUNTER_NAME"],
            enabled=values["COUNTER_ENABLED"],
            prefix=values["COUNTER_PREFIX"],
            timeout=values["COUNTER_TIMEOUT"],
            durability=values["COUNTER_DURABILITY"],
            spool_dir=values["COUNTER_SPOOL_DIR"] if spools else None,
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
        """The store's URL without its password, for logs and messages."""
        parts = urlsplit(self.redis_url)
        # A name without a password is often a password that was written in its place.
        user = f"{parts.username}@" if parts.username and parts.password else ""
        return f"{parts.scheme}://{user}{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def service_id(self) -> str:
        """What tells the service from others that share a folder with it; no secret."""
        return f"{self.redacted_url} {self.prefix}"


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # nor is what it is in
        return False


def is_store_configured(source: Mapping[str, Any]) -> bool:
    """Whether the source says where the store is."""
    names = ("REDIS_URL", "REDIS_HOST", "REDIS_PORT")
    return any(source.get(name) and not is_service_link(name, source[name]) for name in names)


def _losing(given: Mapping[str, Any], store_given: bool) -> list[str]:
    """Return the settings that others win over."""
    if store_given:
        return [name for name in SETTINGS if name.startswith("REDIS_")]
    url = given.get("REDIS_URL")
    if not isinstance(url, str):
        return []
    losing = ["REDIS_HOST", "REDIS_PORT", "REDIS_DB"]
    with suppress(ValueError):  # a malformed URL is an error later on
        parts = urlsplit(url)
        losing += ["REDIS_USERNAME"] if parts.username is not None else []
        losing += ["REDIS_PASSWORD", "REDIS_PASSWORD_FILE"] if parts.password is not None else []
    return losing


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
        secret = any(word in setting.name for word in ("URL", "PASSWORD", "KEY", "TOKEN"))
        said = "its value" if secret else printable(value)
        raise ConfigurationError(setting.name, f"{said} {error}") from error


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
