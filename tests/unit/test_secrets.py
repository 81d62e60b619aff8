"""No error, message or log line contains a password, wherever it was given."""

import logging
import traceback

import pytest
import redis
import redis.asyncio
from redis.exceptions import AuthenticationError, ResponseError

from flask_redis_counter import AsyncRedisCounter, RedisCounter, Spool
from flask_redis_counter.config.config import Config
from flask_redis_counter.doctor.checks import run_checks
from flask_redis_counter.errors import CounterError, InvalidAmountError, printable
from flask_redis_counter.store.replies import make_rejection
from flask_redis_counter.transfer.transfer import Transfer

SECRET = "s3cret"
URL = f"redis://:{SECRET}@h/0"
TARGETS = {
    "pool": lambda: redis.ConnectionPool.from_url(URL),
    "asynchronous pool": lambda: redis.asyncio.ConnectionPool.from_url(URL),
    "connection": lambda: redis.Connection(password=SECRET),
    "other kind": lambda: redis.asyncio.Redis.from_url(URL),
    "bytes": URL.encode,
    "dict": lambda: {"host": "h", "password": SECRET},
    "list": lambda: [URL],
    "scheme": lambda: f"http://:{SECRET}@h/0",
    "no scheme": lambda: f":{SECRET}@h/0",
    "no URL": lambda: f"redis://:[{SECRET}@h/0",
    "port": lambda: f"redis://:{SECRET}@h:port/0",
    "no port": lambda: f"redis://:pa#{SECRET}@h/0",
    "slash": lambda: f"redis://:pa/{SECRET}@h/0",
    "database": lambda: f"redis://:{SECRET}@h/zero",
    "option": lambda: f"redis://:{SECRET}@h/0?socket_timeout={SECRET}",
    "unknown option": lambda: f"redis://:{SECRET}@h/0?nothing={SECRET}",
    "flag": lambda: f"rediss://:{SECRET}@h/0?ssl_cert_reqs={SECRET}",
}


def render_error(error):
    """Return every text that an error may be printed as."""
    chain = "".join(traceback.format_exception(error))
    parts = [str(error), repr(error), chain]
    while error is not None:
        parts += [str(error), repr(error.args)]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(parts)


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("make", [RedisCounter, AsyncRedisCounter, Transfer])
def test_invalid_target_is_not_shown(make, kind, caplog):
    """The error of a client, bytes or a non-URL names its type and the remedy."""
    caplog.set_level(logging.DEBUG)
    target = TARGETS[kind]()
    if make is AsyncRedisCounter and kind == "other kind":
        target = redis.Redis.from_url(URL)
    with pytest.raises(CounterError) as caught:
        make(target)
    assert SECRET not in render_error(caught.value)
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [("pool", "connection_pool=pool"), ("other kind", "AsyncRedisCounter"), ("bytes", "decode")],
)
def test_invalid_target_has_a_remedy(kind, remedy):
    """Each of the usual mistakes has a remedy of its own."""
    with pytest.raises(CounterError, match=remedy):
        RedisCounter(TARGETS[kind]())


def test_valkey_client_has_a_remedy():
    """The error asks for its URL."""
    valkey = pytest.importorskip("valkey")
    with pytest.raises(CounterError, match=r"valkey\.client\.Valkey .* give its URL") as caught:
        RedisCounter(valkey.Valkey.from_url(f"valkey://:{SECRET}@h/0"))
    assert SECRET not in render_error(caught.value)


@pytest.mark.parametrize(
    "value", [URL, URL.encode(), {"password": SECRET}, redis.Redis.from_url(URL)]
)
def test_invalid_argument_is_not_shown(value, tmp_path):
    """A URL or a client in the place of any argument."""
    counter = RedisCounter("redis://h/0")
    calls = [
        lambda: counter.hit(value),
        lambda: counter.hit("visits", value),
        lambda: counter.hit("visits", idempotency_key=value if value != URL else f"\n{URL}"),
        lambda: counter.value(value),
        lambda: counter.series("visits", unit=value),
        lambda: counter.series("visits", days=value),
        lambda: RedisCounter("redis://h/0", prefix=value),
        lambda: RedisCounter("redis://h/0", timeout=value),
        lambda: RedisCounter("redis://h/0", durability=value),
        lambda: Spool(tmp_path, megabytes=value),
    ]
    for call in calls:
        with pytest.raises(CounterError) as caught:
            call()
        assert SECRET not in render_error(caught.value)


SETTINGS = ("REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_DB", "REDIS_PASSWORD_FILE",
            "COUNTER_NAME", "COUNTER_PREFIX", "COUNTER_TIMEOUT", "COUNTER_DURABILITY",
            "COUNTER_ADMIN_KEY", "COUNTER_ADMIN_KEY_FILE", "COUNTER_METRICS_TOKEN",
            "COUNTER_METRICS_TOKEN_FILE", "COUNTER_TRUSTED_PROXIES", "COUNTER_TRUSTED_HOSTS",
            "COUNTER_CORS_ORIGINS", "COUNTER_RATE_LIMIT", "COUNTER_METRICS",
            "COUNTER_SPOOL_MAX_MB")  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_invalid_setting_is_not_shown(name):
    """A secret in the wrong variable, or instead of its file, is not shown."""
    value = f"{SECRET} " if name.endswith(("KEY", "TOKEN")) else f"http://:{SECRET}@h/0"
    with pytest.raises(CounterError) as caught:
        Config.load({name: value})
    assert name in str(caught.value)
    assert SECRET not in render_error(caught.value)
    [finding] = [one for one in run_checks({name: value}) if one.status == "failure"]
    assert SECRET not in repr(finding)


@pytest.mark.parametrize(
    "name", ["REDIS_PASSWORD_FILE", "COUNTER_ADMIN_KEY_FILE", "COUNTER_METRICS_TOKEN_FILE"]
)
def test_secret_instead_of_its_file_is_not_shown(name):
    """The error does not contain it."""
    with pytest.raises(CounterError, match="cannot be read: No such file") as caught:
        Config.load({name: SECRET})
    assert SECRET not in render_error(caught.value)


@pytest.mark.parametrize(
    "url", [f"redis://{SECRET}@h/0", f"redis://user:{SECRET}@h/0", f"redis://h/0?password={SECRET}"]
)
def test_redacted_url_has_no_secret(url):
    """It has no password, and no user name that may be one."""
    assert SECRET not in Config.load({"REDIS_URL": url}).redacted_url


@pytest.mark.parametrize("kind", [ResponseError, AuthenticationError])
def test_server_error_is_redacted(kind):
    """The reply to an unknown command repeats its arguments, such as the password."""
    message = f"unknown command 'AUTH', with args beginning with: 'default' '{SECRET}' "
    error = make_rejection(kind(message))
    assert "unknown command 'AUTH'" in str(error)
    assert SECRET not in render_error(error)


def test_printable_shows_text_and_numbers():
    """Long ones are cut. Credentials and other objects are not shown."""
    assert printable("a b") == "'a b'"
    assert printable(f"redis://user:pa/ss@{SECRET}@h/0") == "'redis://***@h/0'"
    assert len(printable("x" * 1000)) == 100
    assert printable(7) == "7"
    assert printable(None) == "None"
    assert printable(2**100_000) == "an integer of 100001 bits"
    assert printable(b"x") == "a bytes"
    with pytest.raises(InvalidAmountError, match="100001 bits"):
        RedisCounter("redis://h/0").hit("visits", 2**100_000)
