"""The visit counter that does not lie: Flask, Redis, and every hit counted once."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # type checkers follow these; __getattr__ follows _MODULES
    from .async_counter import AsyncRedisCounter as AsyncRedisCounter
    from .counter import RedisCounter as RedisCounter
    from .counting.hit import Hit as Hit
    from .counting.journal import Journal as Journal
    from .errors import ConfigurationError as ConfigurationError
    from .errors import CounterError as CounterError
    from .errors import HitSpooledError as HitSpooledError
    from .errors import OutcomeUnknownError as OutcomeUnknownError
    from .errors import StoreError as StoreError
    from .extension.extension import FlaskRedisCounter as FlaskRedisCounter
    from .limits import Limits as Limits
    from .limits import RateLimit as RateLimit
    from .outcome import Outcome as Outcome
    from .series import SeriesPoint as SeriesPoint
    from .spool.spool import Spool as Spool
    from .web.app import create_app as create_app

#: Module of each public name. It is imported on first use, so that a program imports only what it
#: needs: :mod:`.testing` works without Flask, a counter without the service.
_MODULES = {
    "AsyncRedisCounter": "async_counter",
    "ConfigurationError": "errors",
    "CounterError": "errors",
    "FlaskRedisCounter": "extension.extension",
    "Hit": "counting.hit",
    "HitSpooledError": "errors",
    "Journal": "counting.journal",
    "Limits": "limits",
    "Outcome": "outcome",
    "OutcomeUnknownError": "errors",
    "RateLimit": "limits",
    "RedisCounter": "counter",
    "SeriesPoint": "series",
    "Spool": "spool.spool",
    "StoreError": "errors",
    "create_app": "web.app",
}

__version__: str
__all__ = sorted([*_MODULES, "__version__"])


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("flask-redis-counter")
    try:
        module = _MODULES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(f".{module}", __name__), name)


def __dir__() -> list[str]:
    return __all__
