"""The command ``flask-redis-counter doctor``."""

from __future__ import annotations

import os
from contextlib import suppress

import click

from ..doctor.checks import run_checks
from ..doctor.report import print_report
from ..errors import ConfigurationError
from .embedded_store import embedded_fallback


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor_command(ctx: click.Context, as_json: bool) -> None:
    """Check settings and store, and print a remedy for each problem.

    Exit codes: 0 no problem was found, 1 a warning or a failure was found.
    """
    with suppress(ConfigurationError):  # run_checks reports it
        ctx.with_resource(embedded_fallback(os.environ))
    print_report(run_checks(os.environ), as_json)
