"""Loading and validation of the settings."""

import re
from pathlib import Path

import pytest

from flask_redis_counter import ConfigurationError, CounterError
from flask_redis_counter.config.config import Config, is_store_configured
from flask_redis_counter.config.settings import SETTINGS

README = Path(__file__).parents[3] / "README.md"


def test_defaults():
    """Without settings the documented defaults apply."""
    config = Config.load({})
    assert config.redis_url == "redis://localhost:6379/0"
    assert (config.name, config.prefix, config.timeout) == ("visits", "counter:", 0.5)


def test_parts_make_a_url():
    """Host, port, database and credentials become one URL, whatever characters they contain."""
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
    assert config.redacted_url == "redis://u%3Aser@redis:6380/2"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({"REDIS_URL": "rediss://a:1/3", "REDIS_HOST": "b"}, "rediss://a:1/3"),
        ({"REDIS_URL": "redis://a", "REDIS_PASSWORD": "pw"}, "redis://:pw@a"),
        ({"REDIS_URL": "redis://:own@a", "REDIS_PASSWORD": "pw"}, "redis://:own@a"),
        ({"REDIS_URL": "unix:///run/store.sock?db=1"}, "unix:///run/store.sock?db=1"),
        ({"REDIS_HOST": "::1"}, "redis://[::1]:6379/0"),
        (
            {"REDIS_URL": "redis+sentinel://a:1,[::1]:2/s", "REDIS_PASSWORD": "pw"},
            "redis+sentinel://:pw@a:1,[::1]:2/s",
        ),
    ],
)
def test_url_overrides_its_parts(given, url):
    """A URL sets the address. Credentials that it lacks come from their own settings."""
    assert Config.load(given).redis_url == url


def test_password_from_a_file(tmp_path):
    """The last line end of the file is dropped, and nothing else."""
    secret = tmp_path / "secret"
    secret.write_text(" pass word \n")
    config = Config.load({"REDIS_PASSWORD_FILE": str(secret)})
    assert config.redis_url == "redis://:%20pass%20word%20@localhost:6379/0"
    assert "pass" not in config.redacted_url


def test_earlier_source_wins_and_empty_counts_as_not_set():
    """`app.config` is read before the environment."""
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
        ("COUNTER_NAME", "data.json"),
        ("COUNTER_NAME", ".."),
        ("COUNTER_PREFIX", "{a}"),
        ("COUNTER_TIMEOUT", "0"),
        ("COUNTER_TIMEOUT", "61"),
        ("COUNTER_TIMEOUT", "nan"),
        ("COUNTER_TIMEOUT", "soon"),
        ("COUNTER_FAST_PATH", "perhaps"),
        ("COUNTER_AUTO_CREATE", "2"),
        ("COUNTER_MAX_COUNTERS", "0"),
        ("COUNTER_MAX_COUNTERS", "1000000001"),
        ("COUNTER_ADMIN_KEY", "fifteen-letters"),
        ("COUNTER_ADMIN_KEY", "x" * 256),
        ("COUNTER_ADMIN_KEY", "a key that has blanks"),
        ("COUNTER_ADMIN_KEY", "sixteen-letters-\n"),
        ("COUNTER_ADMIN_KEY", "k\xe9y-that-is-not-ascii"),
        ("COUNTER_ADMIN_KEY", 1234567890123456),
        ("COUNTER_ADMIN_KEY_FILE", "/no/such/file"),
        ("COUNTER_ADMIN_KEY_FILE", __file__),
        ("COUNTER_VISITORS", "some"),
        ("COUNTER_RESPECT_DNT", "-1"),
        ("COUNTER_IGNORE_BOTS", "ignore"),
        ("COUNTER_VISITOR_WINDOW", "-1"),
        ("COUNTER_VISITOR_WINDOW", "86401"),
        ("COUNTER_VISITOR_WINDOW", "1.5"),
        ("COUNTER_RATE_LIMIT", "100"),
        ("COUNTER_RATE_LIMIT", "0/60"),
        ("COUNTER_RATE_LIMIT", "1/0"),
        ("COUNTER_RATE_LIMIT", "1/86401"),
        ("COUNTER_RATE_LIMIT", "1000001/1"),
        ("COUNTER_RATE_LIMIT", "1.5/60"),
        ("COUNTER_RATE_LIMIT", "-1/60"),
        ("COUNTER_RATE_LIMIT", 100),
        ("COUNTER_TRUSTED_PROXIES", "proxy"),
        ("COUNTER_TRUSTED_PROXIES", "10.0.0.1/8"),
        ("COUNTER_TRUSTED_PROXIES", "10.0.0.1;10.0.0.2"),
        ("COUNTER_TRUSTED_PROXIES", ["10.0.0.1"]),
        ("COUNTER_TRUSTED_PROXIES", "unix:/run/proxy"),
        ("COUNTER_TRUSTED_HOSTS", "https://example.org"),
        ("COUNTER_ROOT_PATH", "counter"),
        ("COUNTER_ROOT_PATH", "//evil.example"),
        ("COUNTER_ROOT_PATH", "https://example.org/counter"),
        ("COUNTER_ROOT_PATH", "/a/../b"),
        ("COUNTER_ROOT_PATH", "/a\r\nb"),
        ("COUNTER_TRUSTED_HOSTS", "example.org:5000"),
        ("COUNTER_TRUSTED_HOSTS", "[a]"),
        ("COUNTER_TRUSTED_HOSTS", "fe80::1%eth0"),
        ("COUNTER_TRUSTED_HOSTS", "me@example.org"),
        ("COUNTER_TRUSTED_HOSTS", "*"),
        ("COUNTER_TRUSTED_HOSTS", "*.example.org"),
        ("COUNTER_TRUSTED_HOSTS", "a..b"),
        ("COUNTER_TRUSTED_HOSTS", "."),
        ("COUNTER_TRUSTED_HOSTS", "a!b"),
        ("COUNTER_TRUSTED_HOSTS", "x" * 64),
        ("COUNTER_TRUSTED_HOSTS", "straße.example"),
        ("COUNTER_CORS_ORIGINS", "example.org"),
        ("COUNTER_CORS_ORIGINS", "https://example.org/"),
        ("COUNTER_CORS_ORIGINS", "ftp://example.org"),
        ("COUNTER_CORS_ORIGINS", "null"),
    ],
)
def test_invalid_value_is_an_error_of_one_line(name, value):
    """The error names the setting and is a ValueError."""
    with pytest.raises(ConfigurationError, match=f"^{name}: ") as caught:
        Config.load({name: value})
    assert isinstance(caught.value, (CounterError, ValueError))
    assert caught.value.setting == name
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "fast"), [("off", False), ("0", False), (False, False), ("True", True), ("", True)]
)
def test_boolean_setting(given, fast):
    """It takes words, digits and booleans."""
    assert Config.load({"COUNTER_FAST_PATH": given}).fast_path is fast


def test_url_error_contains_no_secret():
    """The error quotes neither the URL nor its password."""
    for place in ("host:port", "host\u2100", "host/x"):
        with pytest.raises(ConfigurationError) as caught:
            Config.load({"REDIS_URL": f"redis://:hunter2@{place}"})
        assert "hunter2" not in str(caught.value)


def test_admin_key_error_contains_no_secret(tmp_path):
    """The key may come from its setting or from its file."""
    file = tmp_path / "key"
    for key in ("hunter2", "hunter2-with-a blank", "hunter2" * 40, "hunter2-\xfc-and-more"):
        file.write_text(key, "utf-8")
        for given in ({"COUNTER_ADMIN_KEY": key}, {"COUNTER_ADMIN_KEY_FILE": str(file)}):
            with pytest.raises(ConfigurationError, match="16 to 255") as caught:
                Config.load(given)
            assert "hunter2" not in str(caught.value)
            assert "hunter2" not in repr(caught.value.__cause__)


def test_admin_key_from_a_file(tmp_path):
    """An empty setting is no key."""
    file = tmp_path / "key"
    file.write_text("sixteen-letters-\n")
    assert Config.load({"COUNTER_ADMIN_KEY_FILE": str(file)}).admin_key == "sixteen-letters-"
    assert Config.load({"COUNTER_ADMIN_KEY": "sixteen-letters-"}).admin_key == "sixteen-letters-"
    assert Config.load({"COUNTER_ADMIN_KEY": ""}).admin_key is None


@pytest.mark.parametrize("secret", ["REDIS_PASSWORD", "COUNTER_ADMIN_KEY"])
def test_secret_and_its_file_contradict(secret):
    """Both together are an error."""
    with pytest.raises(ConfigurationError, match="one of the two") as caught:
        Config.load({secret: "sixteen-letters-", f"{secret}_FILE": "b"})
    assert "sixteen-letters-" not in str(caught.value)


def test_list_settings():
    """Items are separated by commas, spaces or both. Without items the list is empty."""
    config = Config.load(
        {
            "COUNTER_TRUSTED_PROXIES": "10.0.0.0/8,192.0.2.1 , unix ::1",
            "COUNTER_TRUSTED_HOSTS": "Example.org .example.net,",
            "COUNTER_CORS_ORIGINS": "https://example.org http://localhost:3000",
        }
    )
    assert [str(proxy) for proxy in config.trusted_proxies] == [
        "10.0.0.0/8",
        "192.0.2.1/32",
        "unix",
        "::1/128",
    ]
    assert config.trusted_hosts == ("example.org", ".example.net")
    assert config.cors_origins == ("https://example.org", "http://localhost:3000")
    empty = Config.load({"COUNTER_TRUSTED_PROXIES": " , ", "COUNTER_CORS_ORIGINS": "*"})
    assert (empty.trusted_proxies, empty.trusted_hosts, empty.cors_origins) == ((), (), ("*",))


def test_max_counters_of_hits_and_of_an_administrator():
    """With COUNTER_AUTO_CREATE=false an administrator may still make counters."""
    config = Config.load({"COUNTER_AUTO_CREATE": "false", "COUNTER_MAX_COUNTERS": "7"})
    assert (config.named_limits.max_counters, config.max_counters) == (0, 7)
    assert config.limits.max_counters is None, "the app makes its own counter"
    assert Config.load({"COUNTER_MAX_COUNTERS": "7"}).named_limits.max_counters == 7


def test_visitor_window_needs_visitors():
    """COUNTER_VISITOR_WINDOW needs COUNTER_VISITORS=true."""
    with pytest.raises(ConfigurationError, match="COUNTER_VISITORS=true"):
        Config.load({"COUNTER_VISITOR_WINDOW": "60", "COUNTER_VISITORS": "false"})
    assert Config.load({"COUNTER_VISITORS": "false"}).limits.visitor_window is None
    config = Config.load({"COUNTER_VISITOR_WINDOW": "60"})
    assert config.limits.visitor_window == config.named_limits.visitor_window == 60


def test_ignore_bots_needs_a_package(monkeypatch):
    """The error has the command that installs it."""
    monkeypatch.setattr("flask_redis_counter.config.config.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="pip install crawler-user-agents"):
        Config.load({"COUNTER_IGNORE_BOTS": "true"})
    assert Config.load({"COUNTER_IGNORE_BOTS": "no"}).ignore_bots is False


def test_is_store_configured():
    """Only an address counts as a configured store."""
    assert is_store_configured({"REDIS_HOST": "redis"})
    assert is_store_configured({"REDIS_URL": "redis://a"})
    assert not is_store_configured({"REDIS_URL": "", "REDIS_PASSWORD": "a"})


def test_readme_has_the_settings_texts():
    """Rows of its table match the code. The reference in the docs has all settings."""
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.*?) \| (.*) \|$", README.read_text("utf-8"), re.M)
    assert rows
    for name, default, text in rows:
        setting = SETTINGS[name]
        assert default == ("" if setting.default in (None, ()) else f"`{setting.default}`")
        assert text == setting.help
