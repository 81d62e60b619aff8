"""The visit counter that does not lie: Flask, Redis, and every hit counted once."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .async_counter import AsyncRedisCounter
    from .counter import RedisCounter
    from .counting.hit import Hit
    from .counting.metrics import HitMetrics, MetricsSnapshot
    from .counting.visitors import VisitorCache
    from .errors import (
        ConfigurationError,
        CounterError,
        CounterExistsError,
        CounterNotFoundError,
        CounterOverflowError,
        DurabilityUnsupportedError,
        HitSpooledError,
        IdempotencyKeyReusedError,
        IdempotencyMemoryError,
        ImportFileError,
        InvalidAmountError,
        InvalidIdempotencyKeyError,
        InvalidNameError,
        InvalidPeriodError,
        NotAnIntegerError,
        OutcomeUnknownError,
        RateLimitExceededError,
        SpoolError,
        StoreError,
        StoreRejectedError,
        StoreUnavailableError,
        TooManyCountersError,
    )
    from .extension.extension import FlaskRedisCounter
    from .limits import Limits, RateLimit
    from .outcome import Outcome
    from .series import SeriesPoint
    from .spool.spool import Spool
    from .store.info import StoreInfo
    from .store.overview import CounterSummary, Overview
    from .transfer.records import CounterRecord, DayRecord, InvalidRecord
    from .transfer.transfer import ImportResult, Transfer
    from .web.app import create_app

__all__ = [
    "AsyncRedisCounter",
    "ConfigurationError",
    "CounterError",
    "CounterExistsError",
    "CounterNotFoundError",
    "CounterOverflowError",
    "CounterRecord",
    "CounterSummary",
    "DayRecord",
    "DurabilityUnsupportedError",
    "FlaskRedisCounter",
    "Hit",
    "HitMetrics",
    "HitSpooledError",
    "IdempotencyKeyReusedError",
    "IdempotencyMemoryError",
    "ImportFileError",
    "ImportResult",
    "InvalidAmountError",
    "InvalidIdempotencyKeyError",
    "InvalidNameError",
    "InvalidPeriodError",
    "InvalidRecord",
    "Limits",
    "MetricsSnapshot",
    "NotAnIntegerError",
    "Outcome",
    "OutcomeUnknownError",
    "Overview",
    "RateLimit",
    "RateLimitExceededError",
    "RedisCounter",
    "SeriesPoint",
    "Spool",
    "SpoolError",
    "StoreError",
    "StoreInfo",
    "StoreRejectedError",
    "StoreUnavailableError",
    "TooManyCountersError",
    "Transfer",
    "VisitorCache",
    "create_app",
]

#: Which module each public name is in. It is imported with its first use, so that what lies in
#: :mod:`.testing` can be used without the counter.
_HOMES = {
    "ImportResult": "transfer.transfer",
    "AsyncRedisCounter": "async_counter",
    "InvalidRecord": "transfer.records",
    "ConfigurationError": "errors",
    "CounterError": "errors",
    "CounterExistsError": "errors",
    "CounterOverflowError": "errors",
    "DayRecord": "transfer.records",
    "FlaskRedisCounter": "extension.extension",
    "Hit": "counting.hit",
    "IdempotencyMemoryError": "errors",
    "InvalidAmountError": "errors",
    "InvalidNameError": "errors",
    "InvalidPeriodError": "errors",
    "InvalidIdempotencyKeyError": "errors",
    "HitMetrics": "counting.metrics",
    "NotAnIntegerError": "errors",
    "Outcome": "outcome",
    "OutcomeUnknownError": "errors",
    "Overview": "store.overview",
    "SeriesPoint": "series",
    "RateLimit": "limits",
    "MetricsSnapshot": "counting.metrics",
    "CounterRecord": "transfer.records",
    "RedisCounter": "counter",
    "Spool": "spool.spool",
    "SpoolError": "errors",
    "HitSpooledError": "errors",
    "StoreError": "errors",
    "StoreInfo": "store.info",
    "StoreRejectedError": "errors",
    "StoreUnavailableError": "errors",
    "DurabilityUnsupportedError": "errors",
    "CounterSummary": "store.overview",
    "Limits": "limits",
    "IdempotencyKeyReusedError": "errors",
    "TooManyCountersError": "errors",
    "RateLimitExceededError": "errors",
    "Transfer": "transfer.transfer",
    "CounterNotFoundError": "errors",
    "ImportFileError": "errors",
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
