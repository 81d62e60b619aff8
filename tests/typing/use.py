"""The public API as a caller writes it; mypy must agree with every type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_type

import redis
from flask import Flask

from flask_redis_counter import (
    CounterError,
    FlaskRedisCounter,
    Hit,
    Outcome,
    OutcomeUnknownError,
    RedisCounter,
    create_app,
)
from flask_redis_counter.transfer import (
    CounterRecord,
    DayRecord,
    ImportResult,
    InvalidRecord,
    Transfer,
)

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
    except CounterError as error:
        assert_type(error.outcome, Outcome)

with Transfer("redis://localhost", prefix="site:") as transfer:
    assert_type(transfer.size(), int)
    assert_type(transfer.export_records(days=False), Iterator[CounterRecord | InvalidRecord])
    days = {"2026-11-20": DayRecord(5, visitors=3)}
    results = transfer.import_records(
        [CounterRecord("visits", 12, days)], "there", on_conflict="add"
    )
    assert_type(results, Iterator[ImportResult])
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
