"""JSON logging of the service: one object per line."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

#: Parent of all loggers of this package.
PACKAGE_LOGGER = logging.getLogger("flask_redis_counter")

_HANDLER_NAME = "json"


def configure_json_logging() -> None:
    """Log this package's records as JSON to standard error, in this process and its forks."""
    if not is_json_logging():
        handler = logging.StreamHandler()
        handler.setFormatter(json_formatter())
        handler.name = _HANDLER_NAME
        PACKAGE_LOGGER.addHandler(handler)
        PACKAGE_LOGGER.setLevel(logging.INFO)


def is_json_logging() -> bool:
    """Return whether JSON logging is configured."""
    return any(handler.name == _HANDLER_NAME for handler in PACKAGE_LOGGER.handlers)


def json_formatter() -> logging.Formatter:
    """Return a formatter of one line per record; ``extra`` values become members of the object."""
    json = import_module("pythonjsonlogger.json")
    names = {"levelname": "level", "name": "logger"}
    fields = ["levelname", "name", "message"]
    formatter: Any = json.JsonFormatter(fields, rename_fields=names, timestamp="time")
    return formatter  # type: ignore[no-any-return]
