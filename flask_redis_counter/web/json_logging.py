"""The service's log as JSON, an object a line."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

#: The logger above all of this package's.
PACKAGE = logging.getLogger("flask_redis_counter")

_NAME = "json"


def configure_json_logging() -> None:
    """Let all that this package logs be JSON on standard error, here and in what is forked."""
    if not is_json_logging():
        handler = logging.StreamHandler()
        handler.setFormatter(json_formatter())
        handler.name = _NAME
        PACKAGE.addHandler(handler)
        PACKAGE.setLevel(logging.INFO)


def is_json_logging() -> bool:
    """Whether it is."""
    return any(handler.name == _NAME for handler in PACKAGE.handlers)


def json_formatter() -> logging.Formatter:
    """Return what makes a line of a record; what it has ``extra`` are members of the object."""
    json = import_module("pythonjsonlogger.json")
    names = {"levelname": "level", "name": "logger"}
    fields = ["levelname", "name", "message"]
    formatter: Any = json.JsonFormatter(fields, rename_fields=names, timestamp="time")
    return formatter  # type: ignore[no-any-return]
