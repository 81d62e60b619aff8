"""The visit counter that does not lie: Flask, Redis, and every hit counted once."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .async_counter import AsyncRedisCounter
    from .counter import Hit, RedisCounter
    from .counting.metrics import Meter, Reading
    from .counting.visitors import VisitorCache
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
    from .extension.extension import FlaskRedisCounter
    from .limits import Rate, Terms
    from .series import Point
    from .spool.spool import Spool
    from .store.overview import Overview, StoreInfo, Summary
    from .transfer.records import BadRecord, Day, Record
    from .transfer.transfer import Adopted, Transfer
    from .web.app import create_app

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
    "Adopted": "transfer.transfer",
    "AsyncRedisCounter": "async_counter",
    "BadRecord": "transfer.records",
    "ConfigurationError": "errors",
    "CounterError": "errors",
    "CounterExistsError": "errors",
    "CounterOverflowError": "errors",
    "Day": "transfer.records",
    "FlaskRedisCounter": "extension.extension",
    "Hit": "counter",
    "IdempotencyMemoryError": "errors",
    "InvalidAmountError": "errors",
    "InvalidNameError": "errors",
    "InvalidSpanError": "errors",
    "InvalidTokenError": "errors",
    "Meter": "counting.metrics",
    "NotAnIntegerError": "errors",
    "OutcomeUnknownError": "errors",
    "Overview": "store.overview",
    "Point": "series",
    "Rate": "limits",
    "Reading": "counting.metrics",
    "Record": "transfer.records",
    "RedisCounter": "counter",
    "Spool": "spool.spool",
    "SpoolError": "errors",
    "SpooledError": "errors",
    "StoreError": "errors",
    "StoreInfo": "store.overview",
    "StoreRefusedError": "errors",
    "StoreUnavailableError": "errors",
    "StoreUnsuitableError": "errors",
    "Summary": "store.overview",
    "Terms": "limits",
    "TokenReusedError": "errors",
    "TooManyCountersError": "errors",
    "TooOftenError": "errors",
    "Transfer": "transfer.transfer",
    "UnknownCounterError": "errors",
    "UnreadableError": "errors",
    "VisitorCache": "counting.visitors",
    "create_app": "web.app",
}


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(f".{home}", __name__), name)


def __dir__() -> list[str]:
    return __all__
