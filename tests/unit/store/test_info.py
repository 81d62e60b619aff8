"""The server's INFO."""

import pytest

from flask_redis_counter.errors import StoreRejectedError
from flask_redis_counter.store.info import (
    durability_warnings,
    read_info,
)
from flask_redis_counter.store.operation import gather, run
from flask_redis_counter.store.server_state import (
    merge_sections,
    parse_info,
    parse_server,
    parse_version,
)

REDIS = b"# Server\r\nredis_version:8.0.2\r\nexecutable:/a:b\r\n"
VALKEY = b"# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n"


def test_parse_info_splits_at_the_first_colon():
    """parse_info returns the fields of a section, without its headline."""
    assert parse_info(REDIS) == {"redis_version": "8.0.2", "executable": "/a:b"}


@pytest.mark.parametrize(
    ("section", "server"), [(REDIS, ("Redis", "8.0.2")), (VALKEY, ("Valkey", "9.1.2"))]
)
def test_parse_server_returns_name_and_version(section, server):
    """parse_server returns the version of Valkey, not that of the Redis it is compatible with."""
    assert parse_server(parse_info(section)) == server


def test_read_info_merges_sections():
    """read_info reads its sections in one round trip, and returns the fields of all."""
    sent = []

    def send(commands):
        sent.append(commands)
        return [REDIS, b"used_memory:5\r\n"]

    info = run(read_info("server", "memory"), send)
    assert (info["redis_version"], info["used_memory"]) == ("8.0.2", "5")
    assert sent == [[("INFO", "server"), ("INFO", "memory")]]


def test_read_info_raises_a_rejection():
    """read_info raises the error of a user who may not run INFO."""
    error = StoreRejectedError("no permission")
    with pytest.raises(StoreRejectedError):
        run(read_info("server"), lambda _: [error])
    assert run(gather(read_info("server")), lambda _: [error]) == [error]


@pytest.mark.parametrize(
    ("memory", "persistence", "config", "settings"),
    [
        (b"maxmemory_policy:noeviction", b"aof_enabled:1", [b"appendfsync", b"always"], []),
        (b"", b"aof_enabled:1", [b"appendfsync", b"everysec"], ["appendfsync"]),
        (b"", b"aof_enabled:0", [b"appendfsync", b"always"], ["appendonly"]),
        (b"maxmemory_policy:allkeys-lru", b"aof_enabled:1", None, ["maxmemory-policy", "config"]),
    ],
)
def test_durability_warnings_name_the_setting(memory, persistence, config, settings):
    """durability_warnings has a warning for each setting that may lose acknowledged hits."""
    config = StoreRejectedError("no permission") if config is None else config
    found = run(durability_warnings(), lambda _: [memory, persistence, config])
    assert list(found) == settings


def test_merge_sections_has_the_lowest_of_several_versions():
    """The version of several servers is the lowest, and all are named if they differ."""
    merged = parse_info(merge_sections([REDIS, VALKEY, VALKEY]))
    assert parse_server(merged) == ("Valkey", "9.1.2")
    assert merged["redis_version"] == "7.2.4"
    assert (merged["servers"], merged["versions"]) == ("3", "Redis 8.0.2, Valkey 9.1.2")
    same = parse_info(merge_sections([VALKEY, VALKEY]))
    assert parse_server(same) == ("Valkey", "9.1.2")
    assert "versions" not in same
    assert parse_info(merge_sections([REDIS])) == parse_info(REDIS)


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("7.2.4", (7, 2)), ("8.0-rc1", (8, 0)), ("", ()), ("255.255.255", (255, 255))],
)
def test_parse_version(version, numbers):
    """Only its first two numbers matter, and a strange version is no error."""
    assert parse_version({"redis_version": version}) == numbers
