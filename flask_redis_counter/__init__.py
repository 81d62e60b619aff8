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
        IdempotencyMemoryError,
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
        UnreadableError,
    )
    from .extension import FlaskRedisCounter
    from .meter import Meter, Reading
    from .overview import Overview, StoreInfo, Summary
    from .records import BadRecord, Day, Record
    from .spool import Spool
    from .terms import Rate, Terms
    from .transfer import Adopted, Transfer
    from .visitors import VisitorCache

__all__ = [
    "Adopted",
    "AsyncRedisCounter",
    "BadRecord",
    "ConfigurationError",
    "CounterError",
    "CounterExistsError",
    "CounterOverflowError",
    "Day",
    "FlaskRedisCounter",
    "Hit",
    "IdempotencyMemoryError",
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
    "Record",
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
    "Transfer",
    "UnknownCounterError",
    "UnreadableError",
    "VisitorCache",
    "create_app",
]

#: Which module each public name is in. It is imported with its first use, so that what lies in
#: :mod:`.testing` can be used without the counter.
_HOMES = {
    "Adopted": "transfer",
    "AsyncRedisCounter": "async_counter",
    "BadRecord": "records",
    "ConfigurationError": "errors",
    "CounterError": "errors",
    "CounterExistsError": "errors",
    "CounterOverflowError": "errors",
    "Day": "records",
    "FlaskRedisCounter": "extension",
    "Hit": "counter",
    "IdempotencyMemoryError": "errors",
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
    "Record": "records",
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
    "Transfer": "transfer",
    "UnknownCounterError": "errors",
    "UnreadableError": "errors",
    "VisitorCache": "visitors",
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
