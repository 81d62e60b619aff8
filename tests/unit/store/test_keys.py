"""Each Redis key is spelled in one module."""

from pathlib import Path

import pytest

import flask_redis_counter
from flask_redis_counter.errors import InvalidNameError
from flask_redis_counter.store.keys import (
    MAX_PLAIN_KEY,
    CounterKeys,
    counter_key,
    hit_keys,
    idempotency_record,
    name_from_channel,
    name_from_key,
)

KEY = "counter:{home}"


def test_counter_key_contains_the_name_in_braces():
    """counter_key puts the name into braces, and name_from_key takes it out."""
    assert counter_key("counter:", "home") == KEY
    assert name_from_key(KEY) == "home"


@pytest.mark.parametrize("name", ["a b", "", 3, None])
def test_counter_key_rejects_an_invalid_name(name):
    """counter_key raises InvalidNameError for an invalid name."""
    with pytest.raises(InvalidNameError):
        counter_key("counter:", name)


def test_counter_keys_share_the_braces_of_the_counter():
    """All of a counter's own keys begin with its key; the shared ones with empty braces."""
    keys = CounterKeys(KEY)
    for own in {*keys.all(), keys.live} - {KEY, keys.names}:
        assert own.startswith(f"{KEY}:")
    assert (keys.names, keys.rates) == ("counter:{}:names", "counter:{}:rates")
    assert name_from_channel(keys.live) == "home"


def test_all_has_the_counter_and_the_names_first():
    """CounterKeys.all begins as the script that deletes wants it, and has each key once."""
    keys = CounterKeys(KEY)
    found = keys.all()
    assert found[:2] == [KEY, keys.names]
    assert len(set(found)) == len(found)
    own = {getattr(keys, name) for name in CounterKeys.__slots__} - {keys.rates, keys.live}
    assert own <= set(found), "a deleted counter leaves a record behind"
    assert set(keys.all_hours()) <= set(found)


def test_hit_keys_are_those_of_the_day():
    """hit_keys returns the keys of the days, of the day's hours and of the names."""
    keys = CounterKeys(KEY)
    assert hit_keys(KEY, "2026-11-26") == (keys.days, keys.hours("2026-11-26"), keys.names)


def test_idempotency_record_hashes_a_long_key():
    """idempotency_record contains a short key, and the hash of a long one."""
    short, long = "k" * MAX_PLAIN_KEY, "k" * (MAX_PLAIN_KEY + 1)
    assert idempotency_record(KEY, short) == f"{KEY}:token:{short}"
    digest = idempotency_record(KEY, long).removeprefix(f"{KEY}:token-hash:")
    assert len(digest) == 40


def test_no_other_module_spells_a_key():
    """No module but store.keys builds a key of a counter's record."""
    package = Path(flask_redis_counter.__file__).parent
    spelled = (
        "}:days", "}:hours", "}:names", "}:rates", "}:visitors", "}:salt", "}:told",
        "}:seen", "}:imported", "}:live", "}:writer", "}:token",
    )  # fmt: skip
    found = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if any(it in path.read_text("utf-8") for it in spelled)
    ]
    assert found == [str(Path("store", "keys.py"))]
