"""Clients that compare each answer with the service's own description of itself."""

import re

from flask.testing import FlaskClient
from werkzeug.test import Client

from flask_redis_counter.web.openapi import document

PATHS = document()["paths"]
HEADERS = document()["components"]["headers"]


def check(method, path, response):
    """Check that an answer is one of those described."""
    routes = [
        operations
        for template, operations in PATHS.items()
        if re.fullmatch(template.replace("{name}", "[^/]+"), path, re.DOTALL)
    ]
    if not routes:
        assert response.status_code == 404 or path.startswith("/static/")
        return
    method = method.lower()
    operation = routes[0].get(method) or (routes[0].get("get") if method == "head" else None)
    if operation is None:
        assert method == "options" or response.status_code == 405
        return
    answers = operation["responses"]
    assert str(response.status_code) in answers, f"{method} {path} is not described so"
    answer = answers[str(response.status_code)]
    if method != "head":
        assert response.mimetype in answer["content"]
    for name in answer.get("headers", {}):
        if HEADERS[name].get("required"):
            assert name in response.headers


class _Described:
    def open(self, *args, **kwargs):
        """Send a request."""
        response = super().open(*args, **kwargs)
        check(response.request.method, response.request.path, response)
        return response


class DescribedClient(_Described, Client):
    """A client of a WSGI application."""


class DescribedFlaskClient(_Described, FlaskClient):
    """A client of a Flask app."""
