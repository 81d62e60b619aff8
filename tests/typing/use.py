"""The public API as a caller writes it; mypy must agree with every type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_type

import redis
import redis.asyncio
from flask import Flask

from flask_redis_counter import (
    AsyncRedisCounter,
    ConfigurationError,
    CounterError,
    FlaskRedisCounter,
    Hit,
    HitSpooledError,
    Journal,
    Limits,
    Outcome,
    OutcomeUnknownError,
    RateLimit,
    RedisCounter,
    SeriesPoint,
    Spool,
    StoreError,
    __version__,
    create_app,
)
from flask_redis_counter.errors import (
    CounterExistsError,
    CounterNotFoundError,
    CounterOverflowError,
    DurabilityUnsupportedError,
    IdempotencyKeyReusedError,
    IdempotencyMemoryError,
    ImportFileError,
    InvalidAmountError,
    InvalidIdempotencyKeyError,
    InvalidNameError,
    InvalidPeriodError,
    NotAnIntegerError,
    RateLimitExceededError,
    SpoolError,
    StoreRejectedError,
    StoreUnavailableError,
    TooManyCountersError,
)
from flask_redis_counter.stats import (
    CounterSummary,
    HitMetrics,
    JournalState,
    MetricsSnapshot,
    Overview,
    StoreInfo,
    VisitorCache,
)
from flask_redis_counter.transfer import (
    CounterRecord,
    DayRecord,
    ImportResult,
    ImportStatus,
    InvalidRecord,
    OnConflict,
    Transfer,
)

assert_type(__version__, str)
assert_type(create_app(), Flask)
assert_type(create_app({"COUNTER_NAME": "visits"}), Flask)

with RedisCounter("redis://localhost", prefix="site:", timeout=0.2) as counter:
    assert_type(counter, RedisCounter)
    assert_type(counter.hit("visits"), Hit)
    assert_type(counter.hit("visits", 2).value, int)
    assert_type(counter.value("visits"), int)
    assert_type(counter.value("visits", None), int | None)
    assert_type(counter.values(["a", "b"]), dict[str, int])
    assert_type(counter.set("visits", 1), int | None)
    assert_type(counter.reset("visits"), int | None)
    assert_type(counter.names(), list[str])
    try:
        counter.hit("visits")
    except OutcomeUnknownError as error:
        assert_type(error.outcome, Outcome)
    except RateLimitExceededError as error:
        assert_type(error.retry_after, float)
    except IdempotencyKeyReusedError as error:
        assert_type(error.amount, int)
    except (NotAnIntegerError, CounterOverflowError) as error:
        assert_type(error.key, str)
    except CounterNotFoundError as error:
        assert_type(error.name, str)
    except (InvalidNameError, InvalidAmountError, InvalidIdempotencyKeyError) as error:
        assert_type(error.outcome, Outcome)
    except (TooManyCountersError, IdempotencyMemoryError, HitSpooledError, SpoolError):
        pass
    except DurabilityUnsupportedError:
        pass
    except StoreUnavailableError as error:
        assert_type(error.remedy, str)
    except (StoreRejectedError, StoreError) as error:
        assert_type(error.outcome, Outcome)
    except (InvalidPeriodError, CounterExistsError, ImportFileError):
        pass
    except ConfigurationError as error:
        assert_type((error.setting, error.problem), tuple[str, str])
    except CounterError as error:
        assert_type(error.outcome, Outcome)

    limits = Limits(max_counters=5, visitor_window=1800, rate=RateLimit(3, 60))
    assert_type(counter.hit("visits", visitor="v", client="c", limits=limits), Hit)
    assert_type(counter.series("visits", unit="hour", days=2), list[SeriesPoint])
    assert_type(counter.metrics, HitMetrics)
    assert_type(counter.metrics.snapshot(), MetricsSnapshot)
    assert_type(counter.metrics.snapshot().outcomes, dict[Outcome, int])
    assert_type(counter.overview(["visits"]), Overview)
    assert_type(counter.overview().counters, list[CounterSummary])
    assert_type(counter.store_info(), StoreInfo)
    assert_type(counter.journal.state(), JournalState)

metrics, visitors_cache = HitMetrics(), VisitorCache()
spool = Spool("/var/spool/counter")
shared = RedisCounter("redis://localhost", spool=spool, metrics=metrics, visitors=visitors_cache)
assert_type(RedisCounter.from_env({"COUNTER_PREFIX": "site:"}, timeout=1), RedisCounter)
assert_type(RedisCounter.from_env(), RedisCounter)
assert_type(RedisCounter("redis://localhost", journal=Journal(10, "reject")), RedisCounter)
RedisCounter.from_env(time=1)  # type: ignore[call-arg]


async def count() -> None:
    """Count with asyncio."""
    async with AsyncRedisCounter.from_env(spool=None) as awaited:
        assert_type(awaited, AsyncRedisCounter)
        assert_type(await awaited.hit("visits"), Hit)
        assert_type(await awaited.value("visits", None), int | None)
    AsyncRedisCounter(redis.asyncio.Redis())


with Transfer("redis://localhost", prefix="site:") as transfer:
    assert_type(transfer.size(), int)
    assert_type(transfer.export_records(days=False), Iterator[CounterRecord | InvalidRecord])
    days = {"2026-11-20": DayRecord(5, visitors=3)}
    records = [CounterRecord("visits", 12, days)]
    on_conflict: OnConflict = "add"
    results = transfer.import_records(records, "there", on_conflict=on_conflict)
    assert_type(results, Iterator[ImportResult])
    assert_type(next(results).status, ImportStatus)
    transfer.import_records([], "there", on_conflict="double")  # type: ignore[arg-type]

RedisCounter(redis.Redis())
RedisCounter(5)  # type: ignore[arg-type]
counter.hit(5)  # type: ignore[arg-type]

app = Flask(__name__)
visits = FlaskRedisCounter(app)
assert_type(visits.visits(), int | None)
assert_type(visits.visits("a"), int | None)
assert_type(visits.visits("a", "b"), dict[str, int | None])
assert_type(visits.hit("a", idempotency_key="b"), Hit)


@app.get("/")
@visits.counted()
def index() -> str:
    """Keep its type under the decorator."""
    return "page"


assert_type(index(), str)
