"""URLs of stores and Sentinels."""

import pytest

from flask_redis_counter.errors import ConfigurationError
from flask_redis_counter.store.url import check_url, describe_address, parse_sentinel_url


def test_parse_a_sentinel_url():
    """All parts of a URL of Sentinels are found."""
    url = (
        "redis+sentinel://me:p%40ss@one:1,two,[::1]:3/my%20service/2"
        "?sentinel_username=s&sentinel_password=a%26b&client_name=c"
    )
    found = parse_sentinel_url(check_url(url))
    assert found.sentinels == (("one", 1), ("two", 26379), ("::1", 3))
    assert found.service == "my service"
    assert found.store_url == "redis://me:p%40ss@localhost/2?client_name=c"
    assert (found.username, found.password) == ("s", "a&b")
    assert not found.secure


@pytest.mark.parametrize(
    ("url", "scheme", "secure"),
    [
        ("redis+sentinel://one/s", "redis", False),
        ("rediss+sentinel://one/s", "rediss", True),
        ("valkey+sentinel://one/s", "redis", False),
        ("valkeys+sentinel://one/s", "rediss", True),
        ("rediss+sentinel://one/s?sentinel_tls=false", "rediss", False),
        ("redis+sentinel://one/s?sentinel_tls=true", "redis", True),
    ],
)
def test_tls_of_sentinels_and_stores(url, scheme, secure):
    """The scheme is for both; sentinel_tls is for the Sentinels."""
    found = parse_sentinel_url(check_url(url))
    assert found.store_url == f"{scheme}://localhost/"
    assert found.secure is secure


def test_other_urls_have_no_sentinels():
    """parse_sentinel_url returns None for the URL of a store."""
    assert parse_sentinel_url("redis://localhost:6379/0") is None


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("sentinel://one/s", "does not begin with"),
        ("redis+sentinel://one:26379", "has no name of a service"),
        ("redis+sentinel://one:26379/", "has no name of a service"),
        ("redis+sentinel:///s", "is not a list of Sentinels"),
        ("redis+sentinel://one,,two/s", "is not a list of Sentinels"),
        ("redis+sentinel://one:x/s", "is not a list of Sentinels"),
        ("redis+sentinel://one:0/s", "has a port"),
        ("redis+sentinel://one:65536/s", "has a port"),
        ("redis+sentinel://one/s/x", "has a database"),
        ("redis+sentinel://one/s/0/1", "has a database"),
        ("redis+sentinel://one/s?sentinel_tls=yes", "has a sentinel_tls"),
        ("redis+sentinel://me:p/w@one/s", "has a / in its user name or password"),
        ("redis://one:1,two:2/0", "has several hosts: write redis"),
        ("redis://one:99999/0", "has a port"),
    ],
)
def test_invalid_urls_are_explained(url, problem):
    """check_url names what is wrong, without the URL."""
    with pytest.raises(ConfigurationError, match=problem) as caught:
        check_url(url)
    assert "one" not in str(caught.value).replace("integer", "")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://me:secret@one:1/2", "one:1/2"),
        ("valkey://one", "one:6379/0"),
        ("valkeys://one", "one:6379/0"),
        ("unix:///run/store.sock?db=3", "/run/store.sock/3"),
        ("redis+sentinel://me:secret@one:1,two/s/4?sentinel_password=x", "one:1,two:26379/s/4"),
        ("redis+sentinel://one/s", "one:26379/s/0"),
    ],
)
def test_describe_address(url, address):
    """An address has neither credentials nor options."""
    assert describe_address(url) == address
