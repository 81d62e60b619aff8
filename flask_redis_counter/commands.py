"""The commands ``flask counter …``, in every app that has the extension."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click
from flask.cli import AppGroup

from .days import Unit
from .errors import CounterError, UnknownCounterError
from .rules import MAX_VALUE, MIN_VALUE
from .state import current_state


class _Commands(AppGroup):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CounterError as error:
            raise click.ClickException(str(error)) from error


counter_group = _Commands("counter", help="Read and change counters.")

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_name = click.argument("name", required=False)


@counter_group.command("get")
@click.argument("names", nargs=-1)
@_json
def get(names: tuple[str, ...], as_json: bool) -> None:
    """Print the value of NAMES, by default of the app's own counter."""
    state = current_state()
    own = {} if names else {state.config.name: 0}
    found = state.counter.values(names or own, default=None)
    values: dict[str, int] = {}
    for name, value in found.items():
        if value is None and name not in own:
            raise UnknownCounterError(name)
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
@click.argument("name")
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
    """Set NAME to 0 and print the value that it had, 0 where it is made."""
    state = current_state()
    name = state.name_or_default(name)
    _one(name, state.counter.reset(name) or 0, as_json)


@counter_group.command("delete")
@click.argument("name")
@_json
def delete(name: str, as_json: bool) -> None:
    """Delete NAME with its days and hours, and print the value that it had."""
    old = current_state().counter.delete(name)
    if old is None:
        raise UnknownCounterError(name)
    _one(name, old, as_json)


@counter_group.command("series")
@_name
@click.option("--by", "unit", type=click.Choice(["day", "hour"]), default="day", show_default=True)
@click.option("--days", type=int, help="How far to go back; by default 30 days, or 2 by hour.")
@_json
def series(name: str | None, unit: Unit, days: int | None, as_json: bool) -> None:
    """Print the hits of the last days of NAME, in UTC, and the visitors of each."""
    state = current_state()
    if days is None:
        days = 30 if unit == "day" else 2
    points = state.counter.series(state.name_or_default(name), unit=unit, days=days)
    if as_json:
        click.echo(json.dumps([point.as_dict(unit) for point in points]))
        return
    for point in points:
        visitors = "" if point.visitors is None else f"  {point.visitors}"
        click.echo(f"{point.as_dict(unit)['start']}  {point.hits}{visitors}")


@counter_group.command("list")
@_json
def list_(as_json: bool) -> None:
    """Print all counters with their values; - where there is something that is none."""
    counter = current_state().counter
    values = counter.values(counter.names(), default=None, broken=None)
    if as_json:
        click.echo(json.dumps(values))
    else:
        _table(values)


def _one(name: str, value: int, as_json: bool) -> None:
    click.echo(json.dumps({"name": name, "value": value}) if as_json else value)


def _table(values: Mapping[str, int | None]) -> None:
    width = max(map(len, values), default=0)
    for name, value in values.items():
        click.echo(f"{name:<{width}}  {'-' if value is None else value}")
