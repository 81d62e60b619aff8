"""The commands ``flask counter …`` of an app with the extension.

``flask-redis-counter`` has the same commands, for the counters of the service.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem
from flask import current_app
from flask.cli import AppGroup, ScriptInfo

from ..console import can_redraw, map_errors_to_exit_codes
from ..errors import (
    ConfigurationError,
    CounterError,
    CounterNotFoundError,
    InvalidNameError,
    InvalidPeriodError,
    StoreError,
)
from ..series import Unit
from ..store.queries import PAGE_SIZE
from ..validation import MAX_VALUE, MIN_VALUE
from .state import current_state

if TYPE_CHECKING:
    from ..doctor.result import Diagnostic

# Errors in the command line or the settings.
_USAGE_ERRORS = (ConfigurationError, InvalidNameError, InvalidPeriodError)


class CounterGroup(AppGroup):
    """A group of commands whose errors end with one line and an exit code.

    :cvar program: the command line that runs the group, for hints.
    """

    program = "flask counter"

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Parse the command line, and run ``--help`` and ``--version``."""
        with map_errors_to_exit_codes(self._hint, _USAGE_ERRORS):
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        with map_errors_to_exit_codes(self._hint, _USAGE_ERRORS):
            return super().invoke(ctx)

    def _hint(self, error: CounterError | OSError) -> str:
        """Return the next command to try, as the end of an error line."""
        if isinstance(error, StoreError):
            return f"; run {self.program} doctor"
        return f"; run {self.program} list" if isinstance(error, CounterNotFoundError) else ""


counter_group = CounterGroup("counter", help="Read and change counters.")


def _complete_name(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a counter's name; return nothing on any error, because a shell cannot show one."""
    try:
        with ctx.find_root().ensure_object(ScriptInfo).load_app().app_context():
            names = current_state().counter.names(after=incomplete, limit=100)
    except Exception:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_optional_name = click.argument("name", required=False, shell_complete=_complete_name)
_required_name = click.argument("name", shell_complete=_complete_name)


@counter_group.command("get")
@click.argument("names", nargs=-1, shell_complete=_complete_name)
@_json
def get(names: tuple[str, ...], as_json: bool) -> None:
    """Print the values of NAMES, by default of COUNTER_NAME."""
    state = current_state()
    default_names = () if names else (state.config.name,)
    found = state.counter.values(names or default_names, default=None)
    values: dict[str, int] = {}
    for name, value in found.items():
        if value is None and name not in default_names:
            raise CounterNotFoundError(name)
        values[name] = value or 0
    if as_json:
        click.echo(json.dumps(values))
    elif len(values) == 1:
        click.echo(next(iter(values.values())))
    else:
        _print_table(values)


@counter_group.command("hit")
@_optional_name
@click.option("--amount", type=click.IntRange(1, MAX_VALUE), default=1, show_default=True)
@_json
def hit(name: str | None, amount: int, as_json: bool) -> None:
    """Add a hit to NAME, and print the new value."""
    state = current_state()
    result = state.counter.hit(state.name_or_default(name), amount)
    _print_value(result.name, result.value, as_json)


@counter_group.command("set", context_settings={"ignore_unknown_options": True})
@_required_name
@click.argument("value", type=click.IntRange(MIN_VALUE, MAX_VALUE))
@_json
def set_(name: str, value: int, as_json: bool) -> None:
    """Set NAME to VALUE."""
    current_state().counter.set(name, value)
    _print_value(name, value, as_json)


@counter_group.command("reset")
@_optional_name
@_json
def reset(name: str | None, as_json: bool) -> None:
    """Set NAME to 0, and print its previous value.

    A counter that does not exist is created; its previous value is 0.
    """
    state = current_state()
    name = state.name_or_default(name)
    _print_value(name, state.counter.reset(name) or 0, as_json)


@counter_group.command("delete")
@_required_name
@_json
def delete(name: str, as_json: bool) -> None:
    """Delete NAME with its days, and print its last value."""
    old = current_state().counter.delete(name)
    if old is None:
        raise CounterNotFoundError(name)
    _print_value(name, old, as_json)


@counter_group.command("series")
@_optional_name
@click.option("--by", "unit", type=click.Choice(["day", "hour"]), default="day", show_default=True)
@click.option("--days", type=int, help="Number of days; by default 30, or 2 with --by hour.")
@_json
def series(name: str | None, unit: Unit, days: int | None, as_json: bool) -> None:
    """Print the hits and visitors of NAME for the last days.

    Days and hours are in UTC. Hours have no visitors. A terminal also shows a chart.
    """
    state = current_state()
    if days is None:
        days = 30 if unit == "day" else 2
    points = state.counter.series(state.name_or_default(name), unit=unit, days=days)
    if as_json:
        click.echo(json.dumps([point.as_dict(unit) for point in points]))
        return
    columns = [[f"{point.as_dict(unit)['start']}" for point in points]]
    columns.append([str(point.hits) for point in points])
    if unit == "day":
        columns.append([str(point.visitors) for point in points])
    if can_redraw(sys.stdout):
        used = sum(max(map(len, column)) + 2 for column in columns)
        columns.append(_draw_bars([point.hits for point in points], _terminal_columns() - used))
    _print_columns(columns)


@counter_group.command("list")
@_json
def list_(as_json: bool) -> None:
    """Print all counters and their values.

    The value is - if the counter's key does not hold an integer.
    """
    counter = current_state().counter
    values: dict[str, int | None] = {}
    while page := counter.names(after=max(values, default=""), limit=PAGE_SIZE):
        values |= counter.values(page, default=None, invalid=None)
    if as_json:
        click.echo(json.dumps(values))
    else:
        _print_table(values)


@counter_group.command("watch")
@click.argument("names", nargs=-1, shell_complete=_complete_name)
@click.option(
    "--every",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    help="Seconds between two updates.",
)
@click.option("--times", type=click.IntRange(1), help="Number of updates; by default until Ctrl-C.")
@_json
def watch(names: tuple[str, ...], every: float, times: int | None, as_json: bool) -> None:
    """Print the values of NAMES repeatedly.

    By default prints the value of COUNTER_NAME. On a terminal each update replaces the last;
    otherwise each update is a line.
    """
    state = current_state()
    names = names or (state.config.name,)
    drawn_lines, previous = 0, dict.fromkeys(names, 0)
    for update in count(1):
        try:
            values = state.counter.values(names)
        except StoreError as error:
            if update == 1:
                raise
            click.echo(f"Error: {error}", err=True)
            drawn_lines = 0
        else:
            if as_json:
                click.echo(json.dumps(values))
            elif not can_redraw(sys.stdout):
                click.echo("  ".join(f"{name} {value}" for name, value in values.items()))
            else:
                rates = [f"{(values[name] - previous[name]) / every:+.1f}/s" for name in values]
                if drawn_lines:
                    click.echo(f"\x1b[{drawn_lines}F\x1b[J", nl=False)  # erase the lines
                columns = [list(values), list(map(str, values.values()))]
                _print_columns(columns if update == 1 else [*columns, rates])
                drawn_lines = len(values)
            previous = values
        if update == times:
            return
        time.sleep(every)


@counter_group.command("doctor")
@_json
def doctor(as_json: bool) -> None:
    """Check settings, store and views, and print a remedy for each problem.

    Exit codes: 0 no problem was found, 1 a warning or a failure was found.
    """
    # Imported here, because each app imports this module when it starts.
    from ..doctor.report import print_report

    print_report(_run_app_checks(), as_json)


def _run_app_checks() -> Iterator[Diagnostic]:
    from ..doctor.checks import run_checks
    from ..doctor.result import Diagnostic

    state = current_state()
    yield from run_checks(current_app.config, os.environ, store=state.store, is_service=False)
    for message, remedy in state.views.find_uncounted(current_app):
        yield Diagnostic("failure", "views", message, remedy)


def _print_value(name: str, value: int, as_json: bool) -> None:
    click.echo(json.dumps({"name": name, "value": value}) if as_json else value)


def _print_table(values: Mapping[str, int | None]) -> None:
    shown = ["-" if value is None else str(value) for value in values.values()]
    _print_columns([list(values), shown])


def _print_columns(columns: list[list[str]]) -> None:
    widths = [max(map(len, column), default=0) for column in columns]
    for row in zip(*columns, strict=True):
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _draw_bars(numbers: list[int], width: int) -> list[str]:
    """Return a bar for each number, in eighths of a character.

    :param width: length of the longest bar, in characters.
    """
    largest = max(numbers)
    if width < 1 or largest <= 0:
        return [""] * len(numbers)
    eighths = [round(8 * width * max(0, number) / largest) for number in numbers]
    try:
        "█▏".encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return ["#" * (eighth // 8) for eighth in eighths]
    return ["█" * (eighth // 8) + " ▏▎▍▌▋▊▉"[eighth % 8].strip() for eighth in eighths]


def _terminal_columns() -> int:
    return shutil.get_terminal_size().columns
