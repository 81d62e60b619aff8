"""Clients that check each response against the service's OpenAPI document."""

import json
import re

from flask.testing import FlaskClient
from werkzeug.test import Client

from flask_redis_counter.web.openapi.document import document

DESCRIBED = document()
# "{name}.json" must not match "{name}".
PATHS = dict(sorted(DESCRIBED["paths"].items(), key=lambda path: -len(path[0])))


def resolve(part):
    """Return a part of the document, following a reference."""
    if "$ref" not in part:
        return part
    _, _, kind, name = part["$ref"].split("/")
    return DESCRIBED["components"][kind][name]


def check(method, path, response):
    """Check that a response is one of those described."""
    method = method.lower()
    routes = [
        operations
        for template, operations in PATHS.items()
        if re.fullmatch(re.escape(template).replace(r"\{name\}", "[^/]+"), path, re.DOTALL)
    ]
    if not routes:
        status = response.headers.get("Counter-Status", response.status_code)
        assert int(status) == 404 or path.startswith("/static/")
        return
    wanted = [method, "get"] if method == "head" else [method]
    described = [route[one] for one in wanted for route in routes if one in route]
    if not described:
        assert method == "options" or response.status_code == 405
        return
    answers = described[0]["responses"]
    assert str(response.status_code) in answers, f"{method} {path} is not described so"
    answer = answers[str(response.status_code)]
    for name, header in answer.get("headers", {}).items():
        if resolve(header).get("required"):
            assert name in response.headers, f"{method} {path}: {response.status_code}"
    content = answer.get("content")
    if method == "head" or content is None:
        assert response.text == ""
        return
    assert response.mimetype in content
    if response.mimetype.endswith("json"):
        check_members(content[response.mimetype]["schema"], json.loads(response.text))


def check_members(schema, answer):
    """Check that an object has the required members, and no undescribed ones."""
    schema = resolve(schema)
    members = set(schema.get("properties", {}))
    for choice in schema.get("oneOf", ()):
        members |= set(choice["properties"])
    assert set(schema.get("required", ())) <= answer.keys() <= members


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
