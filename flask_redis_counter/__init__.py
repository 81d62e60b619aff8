"""The visit counter that does not lie: Flask, Redis, and every hit counted once."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .app import create_app
    from .async_counter import AsyncRedisCounter
    from .counter import Hit, RedisCounter
    from .days import Point
    from .errors import (
        ConfigurationError,
        CounterError,
        CounterExistsError,
        CounterOverflowError,
        InvalidAmountError,
        InvalidNameError,
        InvalidSpanError,
        InvalidTokenError,
        NotAnIntegerError,
        OutcomeUnknownError,
        SpooledError,
        SpoolError,
        StoreError,
        StoreRefusedError,
        StoreUnavailableError,
        StoreUnsuitableError,
        TokenReusedError,
        TooManyCountersError,
        TooOftenError,
        UnknownCounterError,
    )
    from .extension import FlaskRedisCounter
    from .meter import Meter, Reading
    from .overview import Overview, StoreInfo, Summary
    from .spool import Spool
    from .terms import Rate, Terms

__all__ = [
    "AsyncRedisCounter",
    "ConfigurationError",
    "CounterError",
    "CounterExistsError",
    "CounterOverflowError",
    "FlaskRedisCounter",
    "Hit",
    "InvalidAmountError",
    "InvalidNameError",
    "InvalidSpanError",
    "InvalidTokenError",
    "Meter",
    "NotAnIntegerError",
    "OutcomeUnknownError",
    "Overview",
    "Point",
    "Rate",
    "Reading",
    "RedisCounter",
    "Spool",
    "SpoolError",
    "SpooledError",
    "StoreError",
    "StoreInfo",
    "StoreRefusedError",
    "StoreUnavailableError",
    "StoreUnsuitableError",
    "Summary",
    "Terms",
    "TokenReusedError",
    "TooManyCountersError",
    "TooOftenError",
    "UnknownCounterError",
    "create_app",
]

#: Which module each public name is in. It is imported with its first use, so that what lies in
#: :mod:`.testing` can be used without the counter.
_HOMES = {
    "AsyncRedisCounter": "async_counter",
    "ConfigurationError": "errors",
    "CounterError": "errors",
    "CounterExistsError": "errors",
    "CounterOverflowError": "errors",
    "FlaskRedisCounter": "extension",
    "Hit": "counter",
    "InvalidAmountError": "errors",
    "InvalidNameError": "errors",
    "InvalidSpanError": "errors",
    "InvalidTokenError": "errors",
    "Meter": "meter",
    "NotAnIntegerError": "errors",
    "OutcomeUnknownError": "errors",
    "Overview": "overview",
    "Point": "days",
    "Rate": "terms",
    "Reading": "meter",
    "RedisCounter": "counter",
    "Spool": "spool",
    "SpoolError": "errors",
    "SpooledError": "errors",
    "StoreError": "errors",
    "StoreInfo": "overview",
    "StoreRefusedError": "errors",
    "StoreUnavailableError": "errors",
    "StoreUnsuitableError": "errors",
    "Summary": "overview",
    "Terms": "terms",
    "TokenReusedError": "errors",
    "TooManyCountersError": "errors",
    "TooOftenError": "errors",
    "UnknownCounterError": "errors",
    "create_app": "app",
}


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(f".{home}", __name__), name)


def __dir__() -> list[str]:
    return __all__
