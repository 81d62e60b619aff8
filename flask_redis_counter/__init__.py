"""The visit counter that does not lie: Flask, Redis, and every hit counted once."""

from .app import create_app
from .async_counter import AsyncRedisCounter
from .counter import Hit, RedisCounter
from .errors import (
    ConfigurationError,
    CounterError,
    CounterOverflowError,
    InvalidAmountError,
    InvalidNameError,
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
)
from .extension import FlaskRedisCounter
from .spool import Spool

__all__ = [
    "AsyncRedisCounter",
    "ConfigurationError",
    "CounterError",
    "CounterOverflowError",
    "FlaskRedisCounter",
    "Hit",
    "InvalidAmountError",
    "InvalidNameError",
    "InvalidTokenError",
    "NotAnIntegerError",
    "OutcomeUnknownError",
    "RedisCounter",
    "Spool",
    "SpoolError",
    "SpooledError",
    "StoreError",
    "StoreRefusedError",
    "StoreUnavailableError",
    "StoreUnsuitableError",
    "TokenReusedError",
    "create_app",
]
