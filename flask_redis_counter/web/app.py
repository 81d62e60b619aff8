"""Application factory of the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask, Request
from werkzeug.exceptions import BadHost, SecurityError
from werkzeug.routing import Map, MapAdapter

from .. import hosts
from ..errors import ConfigurationError
from ..extension.extension import FlaskRedisCounter
from ..extension.state import EXTENSION_KEY, ExtensionState
from . import problems, proxy_scheme, ranking, request_log, security_headers
from .openapi import document
from .routes import badges, counters, health, live, metrics, pages, snippet, stats

#: Maximum bytes of a request's body.
MAX_BODY_BYTES = 64 * 1024


class _Routes(Map):
    """URL map that keeps double slashes: `/counters//hits` is not the counter named "hits"."""

    def __init__(self, **options: Any) -> None:
        super().__init__(merge_slashes=False, **options)


class Service(Flask):
    """Flask app whose views check the ``Host`` header, in place of Werkzeug and IDNA."""

    url_map_class = _Routes  # type: ignore[assignment]  # Flask names all arguments

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return the URL adapter of a request with any ``Host``; the views check it."""
        try:
            adapter = super().create_url_adapter(request)
        except (BadHost, SecurityError):
            if request is None or self.config.get("TRUSTED_HOSTS"):
                raise
            environ = {**request.environ, "HTTP_HOST": "localhost"}
            adapter = self.url_map.bind_to_environ(environ, subdomain="")
            adapter.server_name = ""
        if request is not None and adapter is not None and not adapter.server_name:
            # Werkzeug 3.1.7 rejects a host with an underscore; later versions drop it.
            host = request.headers.get("Host")
            if host and hosts.is_allowed_host(host):
                adapter.server_name = request.host = host
        return adapter


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Create the counting service.

    :param config: settings that override the environment; see :mod:`.config.config`.
    :raises ConfigurationError: a setting is malformed or out of bounds.
    """
    # The whole package's name, so that the handler of app.logger is for all of its loggers.
    app = Service(
        "flask_redis_counter", template_folder="web/templates", static_folder="web/static"
    )
    app.config.from_mapping(MAX_CONTENT_LENGTH=MAX_BODY_BYTES)
    app.config.from_mapping(config or {})
    FlaskRedisCounter(app)
    state: ExtensionState = app.extensions[EXTENSION_KEY]
    if not state.config.enabled:
        raise ConfigurationError(
            "COUNTER_ENABLED", "false is only for apps with the extension, not for the service"
        )
    app.register_blueprint(pages.blueprint)
    app.register_blueprint(counters.blueprint)
    app.register_blueprint(badges.blueprint)
    app.register_blueprint(snippet.blueprint)
    app.register_blueprint(stats.blueprint)
    app.register_blueprint(live.blueprint)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(metrics.blueprint)
    app.register_blueprint(document.blueprint)
    request_log.init_app(app)
    problems.init_app(app)
    security_headers.init_app(app)
    ranking.init_app(app)
    proxy_scheme.init_app(app)
    return app
