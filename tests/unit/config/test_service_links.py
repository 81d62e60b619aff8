"""Service links: environment variables that Kubernetes and Docker set."""

import pytest

from flask_redis_counter import ConfigurationError
from flask_redis_counter.config.config import Config, is_store_configured
from flask_redis_counter.config.hints import find_hints
from flask_redis_counter.config.service_links import is_service_link

#: What Kubernetes sets for a Service named `counter` with a named port.
KUBERNETES = {
    "COUNTER_SERVICE_HOST": "10.96.0.7",
    "COUNTER_SERVICE_PORT": "80",
    "COUNTER_SERVICE_PORT_HTTP": "80",
    "COUNTER_PORT": "tcp://10.96.0.7:80",
    "COUNTER_PORT_80_TCP": "tcp://10.96.0.7:80",
    "COUNTER_PORT_80_TCP_PROTO": "tcp",
    "COUNTER_PORT_80_TCP_PORT": "80",
    "COUNTER_PORT_80_TCP_ADDR": "10.96.0.7",
}
#: What Docker sets for a container that is linked as `counter`.
DOCKER = {
    "COUNTER_NAME": "/web/counter",
    "COUNTER_PORT": "tcp://172.17.0.5:5000",
    "COUNTER_ENV_PYTHON_VERSION": "3.12.11",
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *KUBERNETES.items(),
        *DOCKER.items(),
        ("REDIS_PORT", "tcp://10.0.0.11:6379"),
        ("REDIS_PORT", "udp://[fd00::1]:6379"),
        ("COUNTER_METRICS_PORT", "tcp://10.0.0.12:9090"),
    ],
)
def test_service_link_is_recognised(name, value):
    """By its name, or by its value if a setting has that name."""
    assert is_service_link(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_PORT", "6379"),
        ("REDIS_PORT", 6379),
        ("REDIS_PORT", "tcp://"),
        ("COUNTER_NAME", "front-page"),
        ("COUNTER_PORT", "5000"),
        ("REDIS_URL", "redis://10.0.0.11:6379"),
        ("COUNTER_TIMOUT", "1"),
    ],
)
def test_setting_is_not_a_service_link(name, value):
    """Neither is a misspelt setting."""
    assert not is_service_link(name, value)


def test_service_links_are_ignored():
    """`Config.load` takes neither a port nor a name from them, from any source."""
    config = Config.load({"COUNTER_NAME": "/web/counter"}, {"REDIS_PORT": "tcp://10.0.0.11:6379"})
    assert (config.name, config.redis_url) == ("visits", "redis://localhost:6379/0")
    assert not is_store_configured({"REDIS_PORT": "tcp://10.0.0.11:6379"})
    host = {"REDIS_HOST": "redis", "REDIS_PORT": "tcp://10.0.0.11:6379"}
    assert Config.load(host).redis_url == "redis://redis:6379/0"


def test_service_links_get_one_hint():
    """One for all of them, with the remedy; a misspelt setting gets a hint of its own."""
    environment = KUBERNETES | {"REDIS_PORT": "tcp://10.0.0.11:6379", "COUNTER_TIMOUT": "1"}
    typo, links = find_hints(environment)
    assert "COUNTER_TIMOUT is an unknown setting" in str(typo)
    assert typo.remedy == "is it COUNTER_TIMEOUT?"
    assert "enableServiceLinks: false" in str(links)
    assert "and 6 more" in links.message
    assert "10." not in str(links)


@pytest.mark.parametrize(
    ("overridden", "value"),
    [
        ("REDIS_HOST", "a:b"),
        ("REDIS_PORT", "none"),
        ("REDIS_DB", "x"),
        ("REDIS_USERNAME", 5),
        ("REDIS_PASSWORD_FILE", "/no/such/file"),
    ],
)
def test_overridden_setting_is_not_parsed(overridden, value):
    """REDIS_URL overrides the address and credentials that it has; `store=` overrides all."""
    url = "redis://user:pass@a:1/2"
    assert Config.load({"REDIS_URL": url, overridden: value}).redis_url == url
    Config.load({overridden: value}, store_given=True)
    with pytest.raises(ConfigurationError, match=overridden):
        Config.load({overridden: value})


def test_credentials_that_a_url_lacks_are_parsed():
    """The URL does not override them."""
    given = {"REDIS_URL": "redis://a", "REDIS_PASSWORD_FILE": "/no/such/file"}
    with pytest.raises(ConfigurationError, match="REDIS_PASSWORD_FILE"):
        Config.load(given)
