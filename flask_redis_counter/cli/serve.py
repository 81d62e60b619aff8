"""The command ``flask-redis-counter serve``."""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from ..config.config import Config, is_store_configured
from ..config.hints import find_hints
from ..counter import RedisCounter
from ..errors import ConfigurationError, DurabilityUnsupportedError, SpoolError, StoreError
from ..spool.spool import Spool
from ..store.embedded import EmbeddedValkey
from ..web.json_logging import configure_json_logging, is_json_logging
from ..web.server.server import check_installed, serve

_log = logging.getLogger(__name__)


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="Port."
)
@click.option(
    "--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Processes."
)
@click.option(
    "--data-dir",
    envvar="COUNTER_DATA_DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the embedded store's data, by default the user's data folder.",
)
def serve_command(host: str, port: int, workers: int, data_dir: Path | None) -> None:
    """Run the production server.

    Settings come from the environment (REDIS_URL, COUNTER_NAME …). If no Redis is
    configured, an embedded store keeps the counts.
    """
    # The server installs its own handler later. Until then, SIGTERM must stop an embedded store
    # that is still starting.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with ExitStack() as stack:
        check_installed()
        config = Config.load(os.environ)
        if config.log_json:
            configure_json_logging()
        for hint in find_hints(os.environ):
            _warn(str(hint))
        if config.metrics and config.metrics_dir is None:
            _share_metrics(stack)
        _print_settings(config)
        if is_store_configured(os.environ):
            if data_dir is not None:
                raise ConfigurationError(
                    "--data-dir", "is for the embedded store, but a Redis is configured"
                )
            _print_reachability(config)
        else:
            _start_embedded_store(stack, data_dir)
        address = f"[{host}]" if ":" in host else host
        serve(
            host=host,
            port=port,
            workers=workers,
            started=lambda: _print_urls(f"http://{address}:{port}/", workers),
        )


def _print_status(text: str) -> None:
    if is_json_logging():
        _log.info(text)
    else:
        click.echo(text)


def _warn(text: str) -> None:
    if is_json_logging():
        _log.warning(text)
    else:
        click.echo(f"Warning: {text}", err=True)


def _share_metrics(stack: ExitStack) -> None:
    """Set ``COUNTER_METRICS_DIR`` to a temporary folder that all workers share, in memory if
    possible.
    """
    in_memory = "/dev/shm"  # noqa: S108  # a private folder is created in it
    try:
        parent = in_memory if os.access(in_memory, os.W_OK) else None
        folder = stack.enter_context(TemporaryDirectory(prefix="counter-metrics-", dir=parent))
    except OSError as error:
        _warn(f"/metrics shows one worker at a time: set COUNTER_METRICS_DIR ({error})")
    else:
        os.environ["COUNTER_METRICS_DIR"] = folder


def _print_settings(config: Config) -> None:
    if config.spool_dir is not None:
        spool = Spool(config.spool_dir, megabytes=config.spool_max_mb)
        _print_status(f"spool: {spool.path}, {_describe_spool(spool)}")
    if config.admin_key is not None:
        # The length shows a key that was cut off: an unquoted $ in an .env file does that.
        _print_status(f"admin key: {len(config.admin_key)} characters")


def _describe_spool(spool: Spool) -> str:
    try:
        return f"{spool.pending_hits()} hits wait"
    except SpoolError:
        return "unknown number of hits waiting (spool not readable)"


def _print_reachability(config: Config) -> None:
    try:
        with RedisCounter(
            config.redis_url, timeout=config.timeout, durability=config.durability
        ) as counter:
            counter.ping()
            durability_warnings = counter.durability_warnings()
    except DurabilityUnsupportedError as error:
        raise ConfigurationError("COUNTER_DURABILITY", f"{error}") from error
    except StoreError as error:
        _warn(
            f"{config.redacted_url} does not answer yet: the server starts anyway, and hits count "
            f"once it answers ({error})"
        )
    else:
        _print_status(f"store: {config.redacted_url}")
        for warning in durability_warnings:
            _warn(warning)


def _start_embedded_store(stack: ExitStack, data_dir: Path | None) -> None:
    for name in ("REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_PASSWORD_FILE"):
        if os.environ.get(name):
            raise ConfigurationError(
                name, "is set, but no Redis is configured: set REDIS_URL or REDIS_HOST"
            )
    store = stack.enter_context(EmbeddedValkey(data_dir))
    os.environ["REDIS_URL"] = store.url
    _print_status(f"store: embedded, append-only file in {store.folder}")


def _print_urls(url: str, workers: int) -> None:
    _print_status(f"serving {url} ({workers} workers); Ctrl-C stops")
    _print_status(
        f"see also: {url}stats, {url}snippet, {url}metrics; and flask-redis-counter doctor"
    )
