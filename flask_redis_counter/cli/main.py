"""The command ``flask-redis-counter``."""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from click.shell_completion import get_completion_class
from flask import Flask
from flask.cli import ScriptInfo

from ..config.config import Config, is_store_configured
from ..config.hints import hints_in
from ..counter import RedisCounter
from ..doctor.checks import run_checks
from ..doctor.report import print_report
from ..errors import ConfigurationError, DurabilityUnsupportedError, SpoolError, StoreError
from ..extension.commands import CounterGroup, counter_group
from ..spool.spool import Spool
from ..store.embedded import EmbeddedValkey, embedded_fallback
from ..web.json_logging import configure_json_logging, is_json_logging
from ..web.server import check_installed
from ..web.server import serve as serve_app
from .transfer import export_command, import_command

_log = logging.getLogger(__name__)


class _Main(CounterGroup):
    """The commands of the service, whose app the other commands are for."""

    program = "flask-redis-counter"

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        ctx = super().make_context(*arguments, **options)
        ctx.obj = ScriptInfo(create_app=partial(_app, ctx))
        return ctx


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="flask-redis-counter")
def main() -> None:
    """The visit counter that does not lie. Its settings are in the environment."""


for command in counter_group.commands.values():
    main.add_command(command)
main.add_command(export_command)
main.add_command(import_command)


def _app(ctx: click.Context) -> Flask:
    from ..web.app import create_app  # not for those who need none

    ctx.with_resource(embedded_fallback(os.environ))
    return create_app()


@main.command(with_appcontext=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Say what is wrong with settings and store, and what to do.

    Exit codes: 0 all is well, 1 there is something to do.
    """
    with suppress(ConfigurationError):  # it is among the findings
        ctx.with_resource(embedded_fallback(os.environ))
    print_report(run_checks(os.environ), as_json)


@main.command(with_appcontext=False)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what lets a shell complete commands and names.

    In bash: eval "$(flask-redis-counter completion bash)"
    """
    name = "flask-redis-counter"
    source = get_completion_class(shell)
    if source is not None:
        click.echo(source(main, {}, name, "_FLASK_REDIS_COUNTER_COMPLETE").source())


@main.command(with_appcontext=False)
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
    help="Where the embedded store keeps its data, by default the user's data folder.",
)
def serve(host: str, port: int, workers: int, data_dir: Path | None) -> None:
    """Count visits: run the production server.

    Settings come from the environment (REDIS_URL, COUNTER_NAME …). Where no Redis is
    configured, an embedded store keeps the counts.
    """
    # Before Granian has a handler for it, so that a store which is just starting ends as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with ExitStack() as stack:
        check_installed()
        config = Config.load(os.environ)
        if config.log_json:
            configure_json_logging()
        for hint in hints_in(os.environ):
            _warn(str(hint))
        if config.metrics and config.metrics_dir is None:
            _share_metrics(stack)
        if config.spool_dir is not None:
            spool = Spool(config.spool_dir, megabytes=config.spool_max_mb)
            _print_status(f"spool: {spool.path}, {_describe_spool(spool)} hits wait")
        if config.admin_key is not None:
            # An unquoted $ in a file .env has cut off the rest of many a key.
            _print_status(f"admin key: {len(config.admin_key)} characters")
        if is_store_configured(os.environ):
            if data_dir is not None:
                raise ConfigurationError(
                    "--data-dir", "is for the embedded store, but a Redis is configured"
                )
            _print_reachability(config)
        else:
            for name in ("REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_PASSWORD_FILE"):
                if os.environ.get(name):
                    raise ConfigurationError(
                        name, "is set, but no Redis is configured: set REDIS_URL or REDIS_HOST"
                    )
            store = stack.enter_context(EmbeddedValkey(data_dir))
            os.environ["REDIS_URL"] = store.url
            _print_status(f"store: embedded, append-only file in {store.folder}")
        place = f"[{host}]" if ":" in host else host
        serve_app(
            host=host,
            port=port,
            workers=workers,
            listeners=config.max_listeners,
            log_json=config.log_json,
            started=lambda: _print_urls(f"http://{place}:{port}/", workers),
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
    """Give the workers a folder in which their metrics add up, in memory if there is one."""
    in_memory = "/dev/shm"  # noqa: S108  # a folder of our own in there
    try:
        place = in_memory if os.access(in_memory, os.W_OK) else None
        folder = stack.enter_context(TemporaryDirectory(prefix="counter-metrics-", dir=place))
    except OSError as error:
        _warn(
            f"/metrics has the numbers of one worker at a time: set COUNTER_METRICS_DIR ({error})"
        )
    else:
        os.environ["COUNTER_METRICS_DIR"] = folder


def _print_urls(url: str, workers: int) -> None:
    _print_status(f"serving {url} ({workers} workers); Ctrl-C stops")
    _print_status(f"to see: {url}stats, {url}snippet, {url}metrics; and flask-redis-counter doctor")


def _describe_spool(spool: Spool) -> int | str:
    try:
        return spool.length()
    except SpoolError:
        return "nobody knows how many"


def _print_reachability(config: Config) -> None:
    try:
        with RedisCounter(
            config.redis_url, timeout=config.timeout, durability=config.durability
        ) as counter:
            counter.ping()
            risks = counter.durability_warnings()
    except DurabilityUnsupportedError as error:
        raise ConfigurationError("COUNTER_DURABILITY", f"{error}") from error
    except StoreError as error:
        _warn(
            f"{config.shown_url} does not answer yet; serving on, and counting as soon as it does "
            f"({error})"
        )
    else:
        _print_status(f"store: {config.shown_url}")
        for risk in risks:
            _warn(risk)
