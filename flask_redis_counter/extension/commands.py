"""The commands ``flask counter …``, in every app that has the extension.

``flask-redis-counter`` has them as well, for the service's own counters.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import click
from click.shell_completion import CompletionItem
from flask import current_app
from flask.cli import AppGroup, ScriptInfo

from ..console import can_redraw, map_errors_to_exit_codes
from ..doctor.checks import run_checks
from ..doctor.report import print_report
from ..doctor.result import Diagnostic
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

# Errors in the command line or the settings, and not of the store.
_USAGE_ERRORS = (ConfigurationError, InvalidNameError, InvalidPeriodError)


class CounterGroup(AppGroup):
    """A group of commands whose errors end with one line and an exit code.

    :cvar program: how the group is called, for hints.
    """

    program = "flask counter"

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        with map_errors_to_exit_codes(self._hint, _USAGE_ERRORS):
            return super().invoke(ctx)

    def _hint(self, error: CounterError | OSError) -> str:
        """Return the next command to try, as the end of an error line."""
        if isinstance(error, StoreError):
            return f"; {self.program} doctor says more"
        return "; list shows all" if isinstance(error, CounterNotFoundError) else ""


counter_group = CounterGroup("counter", help="Read and change counters.")


def _names(ctx: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete a name, where the store can be asked; a shell has no use for an error."""
    try:
        with ctx.find_root().ensure_object(ScriptInfo).load_app().app_context():
            found = current_state().counter.names(after=begun, limit=100)
    except Exception:
        return []
    return [CompletionItem(name) for name in found if name.startswith(begun)]


_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_name = click.argument("name", required=False, shell_complete=_names)
_known_name = click.argument("name", shell_complete=_names)


@counter_group.command("get")
@click.argument("names", nargs=-1, shell_complete=_names)
@_json
def get(names: tuple[str, ...], as_json: bool) -> None:
    """Print the value of NAMES, by default of the app's own counter."""
    state = current_state()
    own = {} if names else {state.config.name: 0}
    found = state.counter.values(names or own, default=None)
    values: dict[str, int] = {}
    for name, value in found.items():
        if value is None and name not in own:
            raise CounterNotFoundError(name)
        values[name] = value or 0
    if as_json:
        click.echo(json.dumps(values))
    elif len(values) == 1:
        click.echo(next(iter(values.values())))
    else:
        _table(values)


@counter_group.command("hit")
@_name
@click.option("--amount", type=click.IntRange(1, MAX_VALUE), default=1, show_default=True)
@_json
def hit(name: str | None, amount: int, as_json: bool) -> None:
    """Count on NAME and print the new value."""
    state = current_state()
    counted = state.counter.hit(state.name_or_default(name), amount)
    _one(counted.name, counted.value, as_json)


@counter_group.command("set", context_settings={"ignore_unknown_options": True})
@_known_name
@click.argument("value", type=click.IntRange(MIN_VALUE, MAX_VALUE))
@_json
def set_(name: str, value: int, as_json: bool) -> None:
    """Set NAME to VALUE."""
    current_state().counter.set(name, value)
    _one(name, value, as_json)


@counter_group.command("reset")
@_name
@_json
def reset(name: str | None, as_json: bool) -> None:
    """Set NAME to 0 and print the value that it had.

    Where there is no such counter, it is made, and that is 0.
    """
    state = current_state()
    name = state.name_or_default(name)
    _one(name, state.counter.reset(name) or 0, as_json)


@counter_group.command("delete")
@_known_name
@_json
def delete(name: str, as_json: bool) -> None:
    """Delete NAME with its days, and print the value that it had."""
    old = current_state().counter.delete(name)
    if old is None:
        raise CounterNotFoundError(name)
    _one(name, old, as_json)


@counter_group.command("series")
@_name
@click.option("--by", "unit", type=click.Choice(["day", "hour"]), default="day", show_default=True)
@click.option("--days", type=int, help="How far to go back; by default 30 days, or 2 by hour.")
@_json
def series(name: str | None, unit: Unit, days: int | None, as_json: bool) -> None:
    """Print the hits and visitors of NAME in the last days.

    Days and hours are those of UTC, and hours have no visitors. In a terminal with a chart.
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
        taken = sum(max(map(len, column)) + 2 for column in columns)
        columns.append(_bars([point.hits for point in points], _width() - taken))
    _print_columns(columns)


@counter_group.command("list")
@_json
def list_(as_json: bool) -> None:
    """Print all counters with their values.

    There is a - for a counter whose key holds something else.
    """
    counter = current_state().counter
    values: dict[str, int | None] = {}
    while page := counter.names(after=max(values, default=""), limit=PAGE_SIZE):
        values |= counter.values(page, default=None, invalid=None)
    if as_json:
        click.echo(json.dumps(values))
    else:
        _table(values)


@counter_group.command("watch")
@click.argument("names", nargs=-1, shell_complete=_names)
@click.option(
    "--every",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option("--times", type=click.IntRange(1), help="End after so many looks; else with Ctrl-C.")
@_json
def watch(names: tuple[str, ...], every: float, times: int | None, as_json: bool) -> None:
    """Print the values of NAMES again and again.

    By default of the app's own counter. In a terminal they stay in their place, otherwise each
    look is a line.
    """
    state = current_state()
    names = names or (state.config.name,)
    drawn, before = 0, dict.fromkeys(names, 0)
    for look in count(1):
        try:
            values = state.counter.values(names)
        except StoreError as error:
            if look == 1:
                raise
            click.echo(f"Error: {error}", err=True)
            drawn = 0
        else:
            if as_json:
                click.echo(json.dumps(values))
            elif not can_redraw(sys.stdout):
                click.echo("  ".join(f"{name} {value}" for name, value in values.items()))
            else:
                rates = [f"{(values[name] - before[name]) / every:+.1f}/s" for name in values]
                if drawn:
                    click.echo(f"\x1b[{drawn}F\x1b[J", nl=False)  # back up, and away with it
                columns = [list(values), list(map(str, values.values()))]
                _print_columns(columns if look == 1 else [*columns, rates])
                drawn = len(values)
            before = values
        if look == times:
            return
        time.sleep(every)


@counter_group.command("doctor")
@_json
def doctor(as_json: bool) -> None:
    """Say what is wrong with the app's settings, its store and its views, and what to do.

    Exit codes: 0 all is well, 1 there is something to do.
    """
    print_report(_examine(), as_json)


def _examine() -> Iterator[Diagnostic]:
    state = current_state()
    yield from run_checks(current_app.config, os.environ, store=state.store, is_service=False)
    for problem in state.views.find_uncounted(current_app):
        yield Diagnostic("failure", "views", *problem)


def _one(name: str, value: int, as_json: bool) -> None:
    click.echo(json.dumps({"name": name, "value": value}) if as_json else value)


def _table(values: Mapping[str, int | None]) -> None:
    shown = ["-" if value is None else str(value) for value in values.values()]
    _print_columns([list(values), shown])


def _print_columns(columns: list[list[str]]) -> None:
    widths = [max(map(len, column), default=0) for column in columns]
    for row in zip(*columns, strict=True):
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _bars(numbers: list[int], width: int) -> list[str]:
    """Return a bar for each number, the longest of that many characters, in eighths of one."""
    most = max(numbers)
    if width < 1 or most <= 0:
        return [""] * len(numbers)
    eighths = [round(8 * width * max(0, number) / most) for number in numbers]
    try:
        "█▏".encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return ["#" * (eighth // 8) for eighth in eighths]
    return ["█" * (eighth // 8) + " ▏▎▍▌▋▊▉"[eighth % 8].strip() for eighth in eighths]


def _width() -> int:
    return shutil.get_terminal_size().columns
