"""Export and import of counters, and repeated imports."""

import itertools
import signal
import threading
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_redis_counter import RedisCounter
from flask_redis_counter.errors import (
    CounterOverflowError,
    NotAnIntegerError,
    StoreUnavailableError,
    TooManyCountersError,
)
from flask_redis_counter.transfer import (
    CounterRecord,
    DayRecord,
    ImportResult,
    InvalidRecord,
    Transfer,
    redis_source,
)
from flask_redis_counter.transfer import transfer as transfer_module

from .lossy_proxy import LossyProxy
from .support import KEY, MAX, contents, nowhere

DAYS, IMPORTED = f"{KEY}:days", f"{KEY}:imported"
names = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
days = st.dictionaries(
    st.dates(max_value=datetime(2026, 11, 20).date()).map(str),
    st.builds(DayRecord, st.integers(0, MAX), st.none() | st.integers(0, MAX)),
    max_size=4,
)
several = st.lists(
    st.builds(CounterRecord, names, st.integers(-(2**63), MAX), days), unique_by=lambda it: it.name
)


@pytest.fixture
def counter(server, client):
    """A counter on the same store."""
    with RedisCounter(server.url, timeout=10) as counter:
        yield counter


@pytest.fixture
def transfer(server, client):
    """A transfer to and from an empty store."""
    with Transfer(server.url) as transfer:
        yield transfer


@pytest.fixture
def run_import(transfer):
    """Import records, and return their statuses."""

    def run_import(*records, source="a", on_conflict="skip", **more):
        return [
            it.status
            for it in transfer.import_records(records, source, on_conflict=on_conflict, **more)
        ]

    return run_import


@given(several)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_import_and_export_round_trip(transfer, client, records):
    """Records are exported as they were imported, sorted; another import changes nothing."""
    client.flushall()
    assert [it.status for it in transfer.import_records(records, "a")] == ["made"] * len(records)
    before = contents(client)
    assert list(transfer.export_records()) == sorted(records, key=lambda it: it.name)
    assert transfer.size() == len(records)
    for on_conflict in ("skip", "add", "replace"):
        assert {
            it.status for it in transfer.import_records(records, "a", on_conflict=on_conflict)
        } <= {"unchanged"}
    assert contents(client) == before


def test_transfer_takes_many_batches(transfer, client):
    """import_records and export_records take more counters than one batch holds."""
    records = [
        CounterRecord(f"n{number:04}", number)
        for number in range(3 * transfer_module.COUNTERS_PER_BATCH + 1)
    ]
    results = list(transfer.import_records(iter(records), "a"))
    assert results == [ImportResult(it.name, "made") for it in records]
    assert list(transfer.export_records()) == records
    assert [it.value for it in transfer.export_records(days=False)] == list(range(len(records)))


def test_split_batches_bounds_days(transfer, run_import):
    """Batches are smaller if counters have many days."""
    many = {str(datetime.fromordinal(730_000 + day).date()): DayRecord(day) for day in range(4000)}
    records = [CounterRecord(name, 7, many) for name in "abcd"]
    assert [len(batch) for batch in transfer_module._split_batches(records)] == [2, 2]
    assert run_import(*records) == ["made"] * 4
    assert list(transfer.export_records()) == records


def test_import_of_an_existing_counter(run_import, counter):
    """An existing counter is skipped, added to once, or replaced once; later hits stay."""
    counter.hit("visits", 5)
    record = CounterRecord("visits", 10)
    assert run_import(record) == run_import(record) == ["skipped"]
    assert counter.value("visits") == 5
    assert run_import(record, on_conflict="add") == ["added"]
    assert (
        run_import(record, on_conflict="add")
        == run_import(record)
        == run_import(record, on_conflict="replace")
        == ["unchanged"]
    )
    assert counter.value("visits") == 15
    assert run_import(record, source="b", on_conflict="replace") == ["replaced"]
    counter.hit("visits")
    assert run_import(record, source="b", on_conflict="replace") == ["unchanged"]
    assert counter.value("visits") == 11


def test_import_adds_the_difference_of_a_source(run_import, counter):
    """Only the difference is added, also to each day; if the source has less, nothing is."""
    first = {"2026-11-19": DayRecord(4, 2), "2026-11-20": DayRecord(6, 3)}
    assert run_import(CounterRecord("visits", 10, first)) == ["made"]
    counter.hit("visits")
    grown = {"2026-11-20": DayRecord(8, 5), "2026-11-21": DayRecord(1)}
    record = CounterRecord("visits", 13, grown)
    assert run_import(record) == ["skipped"]
    assert run_import(record, on_conflict="add") == ["added"]
    assert run_import(record, on_conflict="add") == ["unchanged"]
    assert run_import(CounterRecord("visits", 12, grown), on_conflict="add") == ["behind"]
    assert counter.value("visits") == 14
    assert run_import(CounterRecord("visits", 14), on_conflict="add") == [
        "added"
    ]  # without days, as from CSV
    assert run_import(CounterRecord("visits", 14, first | grown), on_conflict="add") == [
        "unchanged"
    ]
    assert counter.value("visits") == 15


def test_import_adds_up_days(transfer, run_import, client):
    """Days of two sources are added up, and their sum stays that of the value."""
    run_import(
        CounterRecord("visits", 10, {"2026-11-19": DayRecord(4, 2), "2026-11-20": DayRecord(6)})
    )
    run_import(
        CounterRecord("visits", 5, {"2026-11-20": DayRecord(5, 3)}), source="b", on_conflict="add"
    )
    (record,) = transfer.export_records()
    assert record == CounterRecord(
        "visits", 15, {"2026-11-19": DayRecord(4, 2), "2026-11-20": DayRecord(11, 3)}
    )
    run_import(
        CounterRecord("visits", 1, {"2026-11-20": DayRecord(1)}), source="c", on_conflict="replace"
    )
    (record,) = transfer.export_records()
    assert record == CounterRecord("visits", 1, {"2026-11-20": DayRecord(1)})


def test_replace_deletes_days(run_import, counter, client):
    """replace deletes days, hours and visitors, unless the record has no days."""
    counter.hit("visits", visitor="someone")
    run_import(CounterRecord("visits", 7), on_conflict="replace")
    assert sum(point.hits for point in counter.series("visits")) == 1
    assert counter.series("visits", days=1)[0].visitors == 1
    run_import(CounterRecord("visits", 8, {"2020-01-01": DayRecord(8)}), on_conflict="replace")
    assert client.hgetall(DAYS) == {b"2020-01-01": b"8"}
    assert sum(point.hits for point in counter.series("visits", unit="hour", days=1)) == 0
    assert counter.series("visits", days=1)[0].visitors == 0


def test_import_tracks_source_keys(run_import, counter):
    """Two keys of a source become one counter; each is added once."""
    first, second = (
        CounterRecord("visits", 10, source_key=key) for key in ("old:visits", "new visits")
    )
    assert run_import(first, on_conflict="add") == ["made"]
    assert run_import(second, on_conflict="add") == ["added"]
    assert run_import(first, second, on_conflict="add") == ["unchanged", "unchanged"]
    assert counter.value("visits") == 20


def test_import_of_a_name_twice_in_a_batch(run_import, counter):
    """A name that is twice in a batch is imported as in two runs."""
    assert run_import(
        CounterRecord("visits", 1), CounterRecord("visits", 3), on_conflict="add"
    ) == [
        "made",
        "added",
    ]
    assert counter.value("visits") == 3


@pytest.mark.parametrize("source", ["a b", "%20", "zähler.csv", "\udcff", "x" * 255])
def test_import_recognises_any_source_name(run_import, source):
    """A source is recognised again, whatever characters its name has."""
    record = CounterRecord("visits", 1, source_key="é b")
    assert run_import(record, source=source) == ["made"]
    assert run_import(record, source=source, on_conflict="add") == ["unchanged"]


@pytest.mark.parametrize("low", [-(2**63), -(2**53) - 1, 2**53 - 1, 2**62])
def test_import_keeps_all_digits(run_import, counter, low):
    """Values keep all digits, although a Lua number would lose some."""
    assert run_import(CounterRecord("visits", low)) == ["made"]
    assert run_import(CounterRecord("visits", low + 2**53 + 1), on_conflict="add") == ["added"]
    assert counter.value("visits") == low + 2**53 + 1


def test_import_refuses_overflow_and_other_types(transfer, client, run_import):
    """A sum that overflows and keys of other types are unchanged; other counters are imported."""
    client.set(KEY, MAX)
    client.set("counter:{text}", "text")
    client.rpush("counter:{list}", "a")
    client.set("counter:{a}:imported", "text")
    client.set("counter:{a}", 1)
    before = contents(client)
    records = [CounterRecord(name, 1) for name in ("visits", "text", "list", "a")]
    results = list(transfer.import_records(records, "s", on_conflict="add"))
    assert [it.status for it in results] == ["refused"] * 4
    assert [type(it.error) for it in results] == [CounterOverflowError, *[NotAnIntegerError] * 3]
    assert contents(client) == before
    results = list(
        transfer.import_records([*records[1:3], CounterRecord("b", 1)], "s", on_conflict="replace")
    )
    assert [it.status for it in results] == ["refused", "refused", "made"]


def test_import_refuses_a_foreign_history(run_import, client):
    """If another program has written the import history, the counter is unchanged."""
    run_import(CounterRecord("visits", 1))
    client.hset(IMPORTED, "a", "1 2026-11-20")
    assert run_import(CounterRecord("visits", 2), on_conflict="add") == ["refused"]
    assert client.get(KEY) == b"1"


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (CounterRecord("visits", MAX + 1), str(MAX + 1)),
        (CounterRecord("visits", "7"), "'7'"),
        (CounterRecord("a b", 1), "'a b'"),
        (CounterRecord("visits", 1, {"today": DayRecord(1)}), "'today'"),
        (CounterRecord("visits", 1, {"2026-11-20": DayRecord(-5)}), "-5"),
    ],
)
def test_import_rejects_invalid_records(run_import, client, record, problem):
    """An invalid record raises ValueError before anything is sent."""
    with pytest.raises(ValueError, match=problem):
        run_import(record)
    assert contents(client) == {}


def test_import_counts_without_its_days(run_import, client):
    """The value is imported even if the key of the days holds another type."""
    client.set(KEY, 1)
    client.set(DAYS, "text")
    assert run_import(
        CounterRecord("visits", 5, {"2026-11-20": DayRecord(5, 1)}), on_conflict="add"
    ) == ["added"]
    assert client.get(KEY) == b"6"
    assert client.get(DAYS) == b"text"


def test_import_stops_at_max_counters(run_import, transfer):
    """A counter beyond max_counters is not made; existing counters are added to."""
    with pytest.raises(TooManyCountersError, match="'c'"):
        run_import(
            CounterRecord("a", 1), CounterRecord("b", 1), CounterRecord("c", 1), max_counters=2
        )
    assert [it.name for it in transfer.export_records()] == ["a", "b"]
    assert run_import(CounterRecord("a", 2), on_conflict="add", max_counters=2) == ["added"]


def test_import_publishes_the_new_value(run_import, client):
    """An import publishes the new value on the counter's channel."""
    with client.pubsub() as listener:
        listener.subscribe(f"{KEY}:live")
        run_import(CounterRecord("visits", MAX))
        run_import(CounterRecord("visits", 0), source="b", on_conflict="add")
        heard = [listener.get_message(timeout=5)["data"] for _ in range(3)]
    assert heard[1:] == [b"%d" % MAX] * 2


def test_delete_deletes_the_import_history(run_import, counter, client):
    """A deleted counter is made again, also if another client deleted its key."""
    record = CounterRecord("visits", 5, {"2026-11-20": DayRecord(5)})
    run_import(record)
    counter.delete("visits")
    assert not client.exists(IMPORTED)
    assert run_import(record, on_conflict="add") == ["made"]
    client.delete(KEY)
    assert run_import(CounterRecord("visits", 6), on_conflict="add") == ["made"]
    assert run_import(CounterRecord("visits", 6), on_conflict="add") == ["unchanged"]
    assert counter.value("visits") == 6
    assert not client.exists(DAYS)


def test_export_has_visitors_of_past_days(transfer, counter, run_import, monkeypatch):
    """Visitors are exported after their day; those imported stay when the day is closed."""
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
    monkeypatch.setattr("flask_redis_counter.series.now", lambda: noon)
    counter.hit("visits", visitor="a")
    counter.hit("visits", visitor="b")
    (record,) = transfer.export_records()
    assert record == CounterRecord("visits", 2, {"2026-11-20": DayRecord(2)})
    monkeypatch.setattr("flask_redis_counter.series.now", lambda: noon + 86400)
    (record,) = transfer.export_records()
    assert record == CounterRecord("visits", 2, {"2026-11-20": DayRecord(2, 2)})
    run_import(CounterRecord("visits", 5, {"2026-11-20": DayRecord(5, 3)}), on_conflict="add")
    assert [point.visitors for point in counter.series("visits", days=2)] == [5, 0]
    counter.hit("visits", visitor="a")
    assert [point.visitors for point in counter.series("visits", days=2)] == [5, 1]


def test_export_reports_invalid_counters(transfer, client, counter):
    """A counter that was deleted is missing; a key of another type is an InvalidRecord."""
    for name in "abcd":
        counter.hit(name)
    client.delete("counter:{a}", "counter:{d}:days")
    client.set("counter:{b}", "text")
    client.set("counter:{d}:days", "text")
    client.zadd("counter:{}:names", {"a b": 0})
    found = list(transfer.export_records(days=False))
    bad = [it for it in found if isinstance(it, InvalidRecord)]
    assert [it.where for it in bad] == ["counter 'a b'", "counter 'b'"]
    assert [it.name for it in found if it not in bad] == ["c", "d"]
    assert [it.where for it in transfer.export_records() if isinstance(it, InvalidRecord)][
        -1
    ] == "counter 'd'"


def test_import_with_concurrent_hits(server, client, counter):
    """No hit is lost or counted twice while several processes import the same counters."""
    records = [CounterRecord(f"n{number}", 1000) for number in range(300)]
    stop = threading.Event()
    hits = dict.fromkeys((it.name for it in records), 0)

    def hit():
        for name in itertools.cycle(hits):
            counter.hit(name)
            hits[name] += 1
            if stop.is_set():
                return

    def import_all():
        with Transfer(server.url) as transfer:
            for _ in transfer.import_records(records, "a", on_conflict="add"):
                pass

    hit_thread = threading.Thread(target=hit)
    importing = [threading.Thread(target=import_all) for _ in range(3)]
    hit_thread.start()
    for thread in importing:
        thread.start()
    for thread in importing:
        thread.join(60)
    stop.set()
    hit_thread.join(60)
    assert sum(hits.values()) > 0
    assert counter.values(hits) == {name: 1000 + number for name, number in hits.items()}


@pytest.mark.parametrize("on_conflict", ["skip", "add", "replace"])
def test_import_repeats_after_lost_replies(server, client, on_conflict):
    """A batch whose reply was lost is sent again, and counts once."""
    client.set("counter:{n0}", 5)
    records = [
        CounterRecord(f"n{number}", 7) for number in range(transfer_module.COUNTERS_PER_BATCH * 2)
    ]
    proxy = LossyProxy(server.port)
    proxy.lose(2, hold=False)
    with Transfer(proxy.url) as transfer:
        results = [
            it.status for it in transfer.import_records(records, "a", on_conflict=on_conflict)
        ]
        assert proxy.lost >= 1
        assert len(results) == len(records)
    proxy.close()
    values = [int(client.get(f"counter:{{{it.name}}}")) for it in records]
    assert values == [{"skip": 5, "add": 12, "replace": 7}[on_conflict], *[7] * (len(records) - 1)]


def test_import_waits_for_a_restarted_store(own_server):
    """import_records waits for the store, loads its script again, and counts once."""
    records = (
        CounterRecord(f"n{number}", 7) for number in range(transfer_module.COUNTERS_PER_BATCH * 4)
    )
    with Transfer(own_server.url) as transfer:
        importing = transfer.import_records(records, "a")
        results = [next(importing)]
        own_server.signal(signal.SIGKILL)
        own_server.wait()
        restart = threading.Timer(0.5, own_server.start)
        restart.start()
        results += importing
        restart.join()
        assert len(results) == transfer.size() == transfer_module.COUNTERS_PER_BATCH * 4
        assert {it.value for it in transfer.export_records()} == {7}


def test_transfer_without_a_store(monkeypatch):
    """import_records and export_records fail after OUTAGE_TIMEOUT, size immediately."""
    monkeypatch.setattr(transfer_module, "OUTAGE_TIMEOUT", 0.3)
    with Transfer(nowhere(), timeout=0.2) as transfer:
        for attempt in (
            transfer.size,
            lambda: list(transfer.export_records()),
            lambda: list(transfer.import_records([CounterRecord("a", 1)], "a")),
        ):
            with pytest.raises(StoreUnavailableError):
                attempt()


def test_scan_reads_repeated_keys_once(server, client, monkeypatch):
    """A key that SCAN returns twice is read once."""
    client.mset({f"hits:{number}": number for number in range(1200)})
    scan = redis_source._scan

    def twice(cursor, pattern):
        behind, keys = yield from scan(cursor, pattern)
        return behind, [*keys, *keys, b"hits:7"]

    monkeypatch.setattr(redis_source, "_scan", twice)
    with redis_source.RedisSource(server.url) as other:
        found = sorted(it.value for it in other.scan("hits:*", "hits:"))
    assert found == list(range(1200))


def test_transfer_prefix(server, client):
    """Counters of one prefix are not those of another."""
    with Transfer(server.url, prefix="site:") as transfer:
        assert [it.status for it in transfer.import_records([CounterRecord("visits", 3)], "a")] == [
            "made"
        ]
        assert list(transfer.export_records()) == [CounterRecord("visits", 3)]
    assert client.get("site:{visits}") == b"3"
    with RedisCounter(server.url) as counter:
        assert counter.names() == []
