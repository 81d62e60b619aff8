"""The service: behind ``flask run``, the production server and the tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask

from .extension import FlaskRedisCounter
from .web import (
    badges,
    counters,
    errors,
    forwarded,
    guards,
    health,
    live,
    metrics,
    openapi,
    pages,
    requests,
    snippet,
    stats,
)


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make the counting service.

    :param config: settings that win over the environment; see :mod:`flask_redis_counter.config`.
    :raises ConfigurationError: a setting is malformed or out of bounds.
    """
    app = Flask(__package__)
    # "/counters//hits" is a hit without a name, and would be led to the counter named "hits".
    app.url_map.merge_slashes = False
    app.config.from_mapping(MAX_CONTENT_LENGTH=64 * 1024)
    app.config.from_mapping(config or {})
    FlaskRedisCounter(app)
    app.register_blueprint(pages.blueprint)
    app.register_blueprint(counters.blueprint)
    app.register_blueprint(badges.blueprint)
    app.register_blueprint(snippet.blueprint)
    app.register_blueprint(stats.blueprint)
    app.register_blueprint(live.blueprint)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(metrics.blueprint)
    app.register_blueprint(openapi.blueprint)
    requests.init_app(app)
    errors.init_app(app)
    guards.init_app(app)
    forwarded.init_app(app)
    return app
