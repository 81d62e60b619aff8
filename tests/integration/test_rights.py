"""Store users without a right, and servers that lack a command."""

import secrets
import threading
from functools import partial
from itertools import product

import fakeredis
import pytest

from flask_redis_counter import Limits, RateLimit, RedisCounter, log_throttle
from flask_redis_counter.doctor.checks import run_checks
from flask_redis_counter.errors import CounterError, RateLimitExceededError
from flask_redis_counter.store.acl import FEATURES, acl_rules
from flask_redis_counter.transfer import Transfer
from flask_redis_counter.transfer.records import CounterRecord, DayRecord

from .support import KEY, MAX, contents, knows_waitaof

SCREENED = {
    "visitor": "v",
    "client": "c",
    "limits": Limits(visitor_window=60, rate=RateLimit(5, 60)),
}


@pytest.fixture
def features(client):
    """The features that this server supports."""
    left_out = {"cluster", "live on a cluster"}
    if not knows_waitaof(client):
        left_out.add("fsync")
    return [name for name in FEATURES if name not in left_out]


@pytest.fixture
def rights(features):
    """The rights that all of them need."""
    return sorted({right for name in features for right in FEATURES[name].rights})


@pytest.fixture
def user(server, client, features):
    """A function that creates a user with all rights except one, and returns the URL."""
    made = []

    def make(missing=None):
        name = f"user-{secrets.token_hex(4)}"
        rules = [rule for rule in acl_rules("counter:", features).split() if rule != f"+{missing}"]
        client.execute_command("ACL", "SETUSER", name, "on", "nopass", *rules)
        made.append(name)
        return server.url.replace("redis://", f"redis://{name}:x@")

    yield make
    if made:
        client.acl_deluser(*made)


def error_of(action):
    """Return the error that an action raises, or None."""
    try:
        action()
    except CounterError as error:
        return error
    return None


def import_record(url, on_conflict):
    """Import a counter with a day."""
    with Transfer(url) as transfer:
        days = {"2026-11-20": DayRecord(3, 2)}
        (result,) = transfer.import_records(
            [CounterRecord("visits", 7, days)], "elsewhere", on_conflict=on_conflict
        )
        return result.status


ACTIONS = {
    "hit": lambda counter, _: counter.hit("visits", 5),
    "hit with a token": lambda counter, _: counter.hit("visits", 5, idempotency_key="t"),
    "hit under a rate": lambda counter, _: counter.hit("visits", 5, **SCREENED),
    "set": lambda counter, _: counter.set("visits", 7),
    "delete": lambda counter, _: counter.delete("visits"),
    "make": lambda _, url: import_record(url, "skip"),
    "add": lambda _, url: import_record(url, "add"),
    "replace": lambda _, url: import_record(url, "replace"),
}


@pytest.mark.parametrize("value", [None, 3, 10**16])
def test_not_counted_error_has_changed_nothing(user, client, rights, value):
    """An error with the outcome not_counted has changed nothing, for each missing right."""
    urls = {right: user(right) for right in rights}
    refused = set()
    for right, action in product(rights, ACTIONS):
        client.flushall()
        if value is not None:
            client.set(KEY, value)
            client.zadd("counter:{}:names", {"visits": 0})
            client.hset(f"{KEY}:days", "2026-11-20", 3)
        before = contents(client)
        with RedisCounter(urls[right], timeout=10) as counter:
            error = error_of(partial(ACTIONS[action], counter, urls[right]))
        if error is not None:
            # With an idempotency key an earlier attempt may have counted; this one has not.
            assert error.outcome == "not_counted" or action == "hit with a token", (right, action)
            left = contents(client)
            left.pop(f"{KEY}:salt".encode(), None)
            assert left == before, (right, action)
            refused.add(right)
    assert {"evalsha", "set", "incrby", "del"} - refused == set()


def test_hit_with_key_is_taken_back_without_the_right_to_record_it(user, client):
    """Each attempt is rejected, and its increment is taken back."""
    with RedisCounter(user("set"), timeout=10) as counter:
        client.set(KEY, MAX - 5)
        for _ in range(3):
            with pytest.raises(CounterError):
                counter.hit("visits", 5, idempotency_key="t")
    assert client.get(KEY) == b"%d" % (MAX - 5)


def doctor(url, **settings):
    """Return the results of doctor that are not ok, by subject."""
    environment = {"REDIS_URL": url, "COUNTER_TIMEOUT": "10", **settings}
    return {one.subject: one for one in run_checks(environment) if one.status != "ok"}


def everything(url):
    """Use each feature, and return the results."""
    limits = Limits(rate=RateLimit(2, 3600))
    with RedisCounter(url, timeout=10) as counter, Transfer(url) as transfer:
        hits = [counter.hit("a", 10**16, visitor=v, client="c", limits=limits) for v in ("v", "w")]
        refused = error_of(lambda: counter.hit("a", visitor="x", client="c", limits=limits))
        again = [counter.hit("b", idempotency_key="t") for _ in range(2)]
        once = [
            counter.hit("c", visitor="v", limits=Limits(visitor_window=60)).counted
            for _ in range(2)
        ]
        days = {"2026-11-20": DayRecord(3, 2)}
        results = list(
            transfer.import_records([CounterRecord("d", 7, days)], "elsewhere", on_conflict="add")
        )
        return (
            [hit.value for hit in hits],
            type(refused),
            [hit.replayed for hit in again],
            once,
            [it.status for it in results],
            [(it.hits, it.visitors) for it in counter.series("a", days=1)],
            sum(it.hits for it in counter.series("a", unit="hour", days=1)),
            counter.set("e", 7),
            counter.delete("e"),
            counter.names(),
            [(it.name, it.value, it.days.keys() != set()) for it in transfer.export_records()],
            counter.store_info().server != "",
        )


def test_acl_rules_are_sufficient(user, server, client, features):
    """With acl_rules all features work as without rules, and doctor finds no problem."""
    client.config_set("appendonly", "yes")
    client.config_set("appendfsync", "always")
    url = user()
    wanted = everything(server.url)
    client.flushall()
    assert everything(url) == wanted
    assert wanted[:4] == (
        [10**16, 2 * 10**16],
        RateLimitExceededError,
        [False, True],
        [True, False],
    )
    assert wanted[5] == [(2 * 10**16, 2)]
    durability = "fsync" if "fsync" in features else "memory"
    used = {"COUNTER_RATE_LIMIT": "100/60", "COUNTER_ADMIN_KEY": "k" * 16}
    assert doctor(url, COUNTER_DURABILITY=durability, **used) == {}


def test_doctor_names_each_missing_right(user, client, rights):
    """doctor names each missing right, and a remedy that grants it."""
    used = {"COUNTER_RATE_LIMIT": "100/60", "COUNTER_ADMIN_KEY": "k" * 16}
    durability = {"wait": "replica", "waitaof": "fsync"}
    for right in rights:
        chosen = durability.get(right, "memory")
        found = doctor(user(right), COUNTER_DURABILITY=chosen, **used)
        said = [one for one in found.values() if right in one.message.split(": ")[0].split()]
        said += [one for one in found.values() if f"+{right}" in one.remedy.split()]
        assert said, (right, found)
        assert any(f"+{right}" in one.remedy.split() for one in said) or right == "info", right


def test_hit_without_details_counts_and_is_logged(user, client, caplog):
    """A hit counts if a detail cannot be recorded, and each cause is logged once."""
    log_throttle._warned.clear()
    missing = {"pfadd": "visitors", "hincrby": "days", "zadd": "names", "publish": "live"}
    for right in missing:
        client.flushall()
        with RedisCounter(user(right), timeout=10) as counter:
            for value in (1, 2, 3):
                assert counter.hit("visits", visitor=f"{value}").value == value
    logged = [record.getMessage() for record in caplog.records]
    parts = [line.split(": ")[1] for line in logged]
    assert sorted(parts) == sorted(missing.values()), logged
    with RedisCounter(user("zremrangebyscore"), timeout=10) as counter:
        counter.hit("visits", client="c", limits=Limits(rate=RateLimit(3, 60)))
    assert "rates and reloads" in caplog.records[-1].getMessage()


def test_export_reports_what_it_leaves_out(user, client):
    """An export reports unlisted counters, and that it could not look for them."""
    url = user("zadd")
    with RedisCounter(url, timeout=10) as counter:
        counter.hit("visits")
    with Transfer(url) as transfer:
        (bad,) = transfer.export_records()
    assert bad.where == "counter 'visits'"
    with Transfer(user("scan")) as transfer:
        (bad,) = transfer.export_records()
    assert "cannot check whether it is complete" in bad.problem


@pytest.fixture
def compatible():
    """A compatible server that lacks `redis.set_repl` (fakeredis)."""
    server = fakeredis.TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"redis://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_rate_limit_on_a_compatible_server(compatible):
    """A rate limit holds on a compatible server, and rejected hits are not stored."""
    limits = Limits(rate=RateLimit(3, 60))
    with RedisCounter(compatible, timeout=10) as counter:
        for value in (1, 2, 3):
            assert counter.hit("visits", visitor="v", client="c", limits=limits).value == value
        with pytest.raises(RateLimitExceededError):
            counter.hit("visits", visitor="v", client="c", limits=limits)
        assert counter.value("visits") == 3
        (today,) = counter.series("visits", days=1)
        assert today.hits == 3


def test_doctor_on_a_compatible_server(compatible):
    """doctor names the commands that the server lacks."""
    found = doctor(compatible)
    assert "info" in found["information"].message
    assert "use a server" in found["information"].remedy
