"""Every setting, from the environment and from a mapping."""

import re
from pathlib import Path

import pytest

from flask_redis_counter import ConfigurationError, CounterError
from flask_redis_counter.config import Config, names_a_store
from flask_redis_counter.settings import SETTINGS

README = Path(__file__).parents[2] / "README.md"


def test_defaults():
    """Nothing given: the usual place, and the documented values."""
    config = Config.load({})
    assert config.redis_url == "redis://localhost:6379/0"
    assert (config.name, config.prefix, config.deadline) == ("visits", "counter:", 0.5)


def test_parts_make_a_url():
    """Host, port, number and credentials become one URL, whatever characters they have."""
    config = Config.load(
        {
            "REDIS_HOST": "redis",
            "REDIS_PORT": "6380",
            "REDIS_DB": "2",
            "REDIS_USERNAME": "u:ser",
            "REDIS_PASSWORD": "p@ss/word",
        }
    )
    assert config.redis_url == "redis://u%3Aser:p%40ss%2Fword@redis:6380/2"
    assert config.shown_url == "redis://u%3Aser@redis:6380/2"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({"REDIS_URL": "rediss://a:1/3", "REDIS_HOST": "b"}, "rediss://a:1/3"),
        ({"REDIS_URL": "redis://a", "REDIS_PASSWORD": "pw"}, "redis://:pw@a"),
        ({"REDIS_URL": "redis://:own@a", "REDIS_PASSWORD": "pw"}, "redis://:own@a"),
        ({"REDIS_URL": "unix:///run/store.sock?db=1"}, "unix:///run/store.sock?db=1"),
        ({"REDIS_HOST": "::1"}, "redis://[::1]:6379/0"),
    ],
)
def test_a_url_wins(given, url):
    """A URL says where; credentials that it lacks come from their own settings."""
    assert Config.load(given).redis_url == url


def test_a_password_from_a_file(tmp_path):
    """A secret's file may end with a line end, and only that is dropped."""
    secret = tmp_path / "secret"
    secret.write_text(" pass word \n")
    config = Config.load({"REDIS_PASSWORD_FILE": str(secret)})
    assert config.redis_url == "redis://:%20pass%20word%20@localhost:6379/0"
    assert "pass" not in config.shown_url


def test_the_earlier_source_wins_and_empty_is_not_given():
    """`app.config` before the environment; an empty variable is one that is not set."""
    config = Config.load({"COUNTER_NAME": "mine", "REDIS_HOST": ""}, {"COUNTER_NAME": "theirs"})
    assert config.name == "mine"
    assert config.redis_url == "redis://localhost:6379/0"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "http://localhost"),
        ("REDIS_URL", "redis://"),
        ("REDIS_URL", "redis://host:port/0"),
        ("REDIS_URL", "redis://host:0/0"),
        ("REDIS_URL", "redis://host/zero"),
        ("REDIS_URL", "unix://"),
        ("REDIS_URL", 5),
        ("REDIS_PORT", "0"),
        ("REDIS_PORT", "65536"),
        ("REDIS_PORT", "6379.0"),
        ("REDIS_DB", "-1"),
        ("REDIS_DB", "1_0"),
        ("REDIS_HOST", "a:6379"),
        ("REDIS_HOST", "a/b"),
        ("REDIS_HOST", "a b"),
        ("REDIS_URL", "redis://:secret@host\u2100:6379/0"),
        ("REDIS_PASSWORD_FILE", "/no/such/file"),
        ("COUNTER_NAME", "a b"),
        ("COUNTER_NAME", "x" * 65),
        ("COUNTER_PREFIX", "{a}"),
        ("COUNTER_DEADLINE", "0"),
        ("COUNTER_DEADLINE", "61"),
        ("COUNTER_DEADLINE", "nan"),
        ("COUNTER_DEADLINE", "soon"),
        ("COUNTER_FAST_PATH", "perhaps"),
        ("COUNTER_HOSTS", "https://example.org"),
        ("COUNTER_HOSTS", "example.org:5000"),
        ("COUNTER_HOSTS", "[::1]"),
        ("COUNTER_HOSTS", "me@example.org"),
    ],
)
def test_a_bad_value_is_one_clear_line(name, value):
    """The error names the setting, is one line, and is a ValueError."""
    with pytest.raises(ConfigurationError, match=f"^{name}: ") as caught:
        Config.load({name: value})
    assert isinstance(caught.value, (CounterError, ValueError))
    assert caught.value.setting == name
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "fast"), [("off", False), ("0", False), (False, False), ("True", True), ("", True)]
)
def test_a_switch(given, fast):
    """Words, digits and booleans."""
    assert Config.load({"COUNTER_FAST_PATH": given}).fast_path is fast


def test_secrets_are_not_repeated():
    """Neither a URL nor a password is quoted in an error."""
    for place in ("host:port", "host\u2100", "host/x"):
        with pytest.raises(ConfigurationError) as caught:
            Config.load({"REDIS_URL": f"redis://:hunter2@{place}"})
        assert "hunter2" not in str(caught.value)


def test_two_passwords_contradict(tmp_path):
    """A password and a file with one: an error, not a guess."""
    with pytest.raises(ConfigurationError, match="one of the two"):
        Config.load({"REDIS_PASSWORD": "a", "REDIS_PASSWORD_FILE": "b"})


def test_naming_a_store():
    """Only a place counts as a configured store."""
    assert names_a_store({"REDIS_HOST": "redis"})
    assert names_a_store({"REDIS_URL": "redis://a"})
    assert not names_a_store({"REDIS_URL": "", "REDIS_PASSWORD": "a"})


def test_the_readme_has_every_setting():
    """The table of settings in the README is the one in the code."""
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.*?) \| (.*) \|$", README.read_text("utf-8"), re.M)
    shown = {name: (default, text) for name, default, text in rows}
    expected = {
        setting.name: (
            "" if setting.default in (None, ()) else f"`{setting.default}`",
            setting.help,
        )
        for setting in SETTINGS.values()
    }
    assert shown == expected
