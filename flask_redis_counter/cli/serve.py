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
from click.core import ParameterSource

from ..config.config import Config, is_store_configured
from ..config.hints import find_hints
from ..config.settings import UNIX
from ..counter import RedisCounter
from ..errors import ConfigurationError, DurabilityUnsupportedError, SpoolError, StoreError
from ..spool.spool import Spool
from ..store.embedded import EmbeddedValkey
from ..web.json_logging import configure_json_logging, is_json_logging
from ..web.server.server import check_installed, serve
from ..web.server.tls import TLSCertificate

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
    "--unix",
    type=click.Path(path_type=Path),
    help="Path of a Unix socket to listen on, for a proxy on this machine, in place of a port.",
)
@click.option(
    "--tls-cert",
    type=click.Path(path_type=Path),
    help="Certificate for HTTPS, as PEM, with its intermediate certificates.",
)
@click.option(
    "--tls-key",
    type=click.Path(path_type=Path),
    help="Private key of the certificate, as PEM.",
)
@click.option(
    "--data-dir",
    envvar="COUNTER_DATA_DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the embedded store's data, by default the user's data folder.",
)
@click.pass_context
def serve_command(
    ctx: click.Context,
    host: str,
    port: int,
    workers: int,
    unix: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    data_dir: Path | None,
) -> None:
    """Run the production server.

    Settings come from the environment (REDIS_URL, COUNTER_NAME …). If no Redis is
    configured, an embedded store keeps the counts.
    """
    # The server installs its own handler later. Until then, SIGTERM must stop an embedded store
    # that is still starting.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with ExitStack() as stack:
        check_installed()
        if unix is not None:
            _reject_tcp_options(ctx)
        tls = _load_certificate(tls_cert, tls_key)
        config = Config.load(os.environ)
        if config.log_json:
            configure_json_logging()
        for hint in find_hints(os.environ):
            _warn(str(hint))
        if config.metrics and config.metrics_dir is None:
            _share_metrics(stack)
        _print_settings(config)
        if unix is not None and UNIX not in config.trusted_proxies:
            _warn(
                "all visitors are one: add unix to COUNTER_TRUSTED_PROXIES if the proxy sends "
                "X-Forwarded-For"
            )
        if is_store_configured(os.environ):
            if data_dir is not None:
                raise ConfigurationError(
                    "--data-dir", "is for the embedded store, but a Redis is configured"
                )
            _print_reachability(config)
        else:
            _start_embedded_store(stack, data_dir)
        if unix is not None:
            place, root = f"the Unix socket {unix}", "/"
        else:
            address = f"[{host}]" if ":" in host else host
            place = root = f"{'http' if tls is None else 'https'}://{address}:{port}/"
        serve(
            host=host,
            port=port,
            unix=unix,
            workers=workers,
            tls=tls,
            started=lambda: _print_address(place, root, workers),
        )


def _reject_tcp_options(ctx: click.Context) -> None:
    for name in ("host", "port", "tls_cert", "tls_key"):
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = f"--{name.replace('_', '-')}"
            raise ConfigurationError("--unix", f"{option} is for TCP; leave out one of the two")


def _load_certificate(cert: Path | None, key: Path | None) -> TLSCertificate | None:
    if cert is None and key is None:
        return None
    if key is None:
        raise ConfigurationError("--tls-cert", "needs --tls-key, the file of its private key")
    if cert is None:
        raise ConfigurationError("--tls-key", "needs --tls-cert, the file of its certificate")
    return TLSCertificate(cert, key)


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


def _print_address(place: str, root: str, workers: int) -> None:
    """Print that the server is ready.

    :param root: URL or path that the names of the pages are appended to.
    """
    _print_status(f"serving {place} ({workers} workers); Ctrl-C stops")
    _print_status(
        f"see also: {root}stats, {root}snippet, {root}metrics; and flask-redis-counter doctor"
    )
