"""RedisCounter.from_env and AsyncRedisCounter.from_env: settings without Flask."""

import pytest

from flask_redis_counter import AsyncRedisCounter, ConfigurationError, RedisCounter, Spool

BOTH = pytest.mark.parametrize("counter_class", [RedisCounter, AsyncRedisCounter])


@BOTH
def test_from_env_reads_the_settings_of_a_counter(counter_class, tmp_path):
    """Prefix, timeout, durability and spool are those of the environment."""
    counter = counter_class.from_env(
        {
            "COUNTER_PREFIX": "site:",
            "COUNTER_TIMEOUT": "0.2",
            "COUNTER_DURABILITY": "fsync",
            "COUNTER_ON_OUTAGE": "spool",
            "COUNTER_SPOOL_DIR": str(tmp_path),
            "COUNTER_SPOOL_MAX_MB": "2",
        }
    )
    assert (counter.prefix, counter.timeout, counter.durability) == ("site:", 0.2, "fsync")
    assert counter.spool.path.parent == tmp_path


@BOTH
def test_from_env_defaults_are_those_of_the_class(counter_class):
    """An empty environment gives the same counter as the arguments' defaults."""
    counter, plain = counter_class.from_env({}), counter_class("redis://localhost:6379/0")
    for name in ("prefix", "timeout", "durability", "spool"):
        assert getattr(counter, name) == getattr(plain, name)


@BOTH
def test_from_env_uses_the_environment_of_the_process(counter_class, monkeypatch):
    """Without a mapping it reads os.environ."""
    monkeypatch.setenv("COUNTER_PREFIX", "process:")
    assert counter_class.from_env().prefix == "process:"


@BOTH
def test_from_env_arguments_take_precedence(counter_class, tmp_path):
    """An argument wins over its setting; `spool=None` keeps the spool of the settings unused."""
    folder = tmp_path / "unused"
    environ = {
        "COUNTER_PREFIX": "site:",
        "COUNTER_ON_OUTAGE": "spool",
        "COUNTER_SPOOL_DIR": str(folder),
    }
    counter = counter_class.from_env(environ, prefix="other:", spool=None)
    assert (counter.prefix, counter.spool) == ("other:", None)
    assert not folder.exists()
    spool = Spool(tmp_path / "own")
    assert counter_class.from_env(environ, spool=spool).spool is spool


@BOTH
@pytest.mark.parametrize(
    ("environ", "setting"),
    [
        ({"COUNTER_TIMEOUT": "soon"}, "COUNTER_TIMEOUT"),
        ({"COUNTER_DURABILITY": "eternal"}, "COUNTER_DURABILITY"),
        ({"REDIS_URL": "http://localhost"}, "REDIS_URL"),
        ({"COUNTER_ON_OUTAGE": "spool"}, "COUNTER_SPOOL_DIR"),
        ({"REDIS_PASSWORD": "a", "REDIS_PASSWORD_FILE": "/b"}, "REDIS_PASSWORD_FILE"),
    ],
)
def test_from_env_malformed_setting_is_a_configuration_error(counter_class, environ, setting):
    """The error names the setting."""
    with pytest.raises(ConfigurationError) as caught:
        counter_class.from_env(environ)
    assert caught.value.setting == setting


@BOTH
def test_from_env_ignores_the_settings_of_the_service(counter_class):
    """A program without Flask needs neither their packages nor valid values of them."""
    counter_class.from_env({"COUNTER_TRACING": "perhaps", "COUNTER_NAME": "a b"})


def test_from_env_returns_the_class_it_is_called_on():
    """A subclass gets an instance of itself."""

    class Visits(RedisCounter):
        pass

    assert type(Visits.from_env({})) is Visits
