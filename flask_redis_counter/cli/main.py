"""The command group ``flask-redis-counter``, and shell completion."""

from __future__ import annotations

import os
from functools import partial
from importlib import import_module
from typing import Any

import click
from click.shell_completion import get_completion_class
from flask import Flask
from flask.cli import ScriptInfo

from ..extension.commands import CounterGroup, counter_group
from .embedded_store import embedded_fallback

# Commands that are imported only when they run, by the module that has each as NAME_command, so
# that the others start fast. The service's doctor replaces that of the extension: it needs no app.
_MODULES = {"doctor": "doctor", "serve": "serve", "export": "transfer", "import": "transfer"}


class _ServiceGroup(CounterGroup):
    """Commands that run on the service's own app."""

    program = "flask-redis-counter"

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        ctx = super().make_context(*arguments, **options)
        ctx.obj = ScriptInfo(create_app=partial(_create_app, ctx))
        return ctx

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_MODULES})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return super().get_command(ctx, cmd_name)
        module = import_module(f".{_MODULES[cmd_name]}", __package__)
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command


def _create_app(ctx: click.Context) -> Flask:
    from ..web.app import create_app  # imported only for commands that need an app

    ctx.with_resource(embedded_fallback(os.environ))
    return create_app()


@click.group(cls=_ServiceGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="flask-redis-counter")
def main() -> None:
    """The visit counter that does not lie. Settings come from the environment."""


@main.command(with_appcontext=False)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes commands and names in SHELL.

    In bash: eval "$(flask-redis-counter completion bash)"
    """
    completer = get_completion_class(shell)
    if completer is not None:
        variable = "_FLASK_REDIS_COUNTER_COMPLETE"
        click.echo(completer(main, {}, _ServiceGroup.program, variable).source())


for command in counter_group.commands.values():
    main.add_command(command)
