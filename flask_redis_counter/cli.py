"""The command ``flask-redis-counter``."""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from .config import Config, names_a_store
from .counter import RedisCounter
from .embedded import EmbeddedStore
from .errors import ConfigurationError, CounterError, SpoolError, StoreError, StoreUnsuitableError
from .logs import write_json, writes_json
from .server import check_installed
from .server import serve as serve_app
from .settings import SETTINGS
from .spool import Spool

_log = logging.getLogger(__name__)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="flask-redis-counter")
def main() -> None:
    """The visit counter that does not lie."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="Port."
)
@click.option(
    "--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Processes."
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the embedded store keeps its data, by default the user's data folder.",
)
def serve(host: str, port: int, workers: int, data_dir: Path | None) -> None:
    """Count visits: run the production server.

    Settings come from the environment (REDIS_URL, COUNTER_NAME …). Where no Redis is
    configured, an embedded store keeps the counts.
    """
    # Before Granian has a handler for it, so that a store which is just starting ends as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with ExitStack() as stack:
            check_installed()
            config = Config.load(os.environ)
            if config.log_json:
                write_json()
            _warn_of_typos()
            if config.metrics and config.metrics_dir is None:
                folder = TemporaryDirectory(prefix="counter-metrics-")
                os.environ["COUNTER_METRICS_DIR"] = stack.enter_context(folder)
            if config.spool_dir is not None:
                with closing(Spool(config.spool_dir, megabytes=config.spool_mb)) as spool:
                    _say(f"spool: {spool.path}, {_waiting(spool)} hits wait")
            if names_a_store(os.environ):
                if data_dir is not None:
                    raise ConfigurationError(
                        "--data-dir", "is for the embedded store, but a Redis is configured"
                    )
                _say_whether_reachable(config)
            else:
                for name in ("REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_PASSWORD_FILE"):
                    if os.environ.get(name):
                        raise ConfigurationError(
                            name, "is set, but no Redis is configured: set REDIS_URL or REDIS_HOST"
                        )
                store = stack.enter_context(EmbeddedStore(data_dir))
                os.environ["REDIS_URL"] = store.url
                _say(f"store: embedded, append-only file in {store.folder}")
            place = f"[{host}]" if ":" in host else host
            serve_app(
                host=host,
                port=port,
                workers=workers,
                listeners=config.live,
                log_json=config.log_json,
                started=lambda: _say(
                    f"serving http://{place}:{port}/ ({workers} workers); Ctrl-C stops"
                ),
            )
    except CounterError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(2 if isinstance(error, ConfigurationError) else 1) from error


def _say(text: str) -> None:
    if writes_json():
        _log.info(text)
    else:
        click.echo(text)


def _warn(text: str) -> None:
    if writes_json():
        _log.warning(text)
    else:
        click.echo(f"Warning: {text}", err=True)


def _waiting(spool: Spool) -> int | str:
    try:
        return spool.length()
    except SpoolError:
        return "nobody knows how many"


def _warn_of_typos() -> None:
    for name in os.environ:
        if name.startswith("COUNTER_") and name not in SETTINGS:
            _warn(f"{name} is no setting and has no effect")


def _say_whether_reachable(config: Config) -> None:
    try:
        with RedisCounter(
            config.redis_url, deadline=config.deadline, durability=config.durability
        ) as counter:
            counter.ping()
            risks = counter.risks()
    except StoreUnsuitableError as error:
        raise ConfigurationError("COUNTER_DURABILITY", f"{error}") from error
    except StoreError as error:
        _warn(
            f"{config.shown_url} does not answer yet; serving on, and counting as soon as it does "
            f"({error})"
        )
    else:
        _say(f"store: {config.shown_url}")
        for risk in risks:
            _warn(risk)
