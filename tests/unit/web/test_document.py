"""The OpenAPI document agrees with the code."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest

from flask_redis_counter import create_app
from flask_redis_counter.errors import InvalidAmountError, InvalidNameError
from flask_redis_counter.validation import MAX_VALUE, check_name
from flask_redis_counter.web.openapi.document import document
from flask_redis_counter.web.params import (
    parse_amount,
    parse_idempotency_key,
    require_url_safe_name,
)

DESCRIBED = document()
SCHEMAS = DESCRIBED["components"]["schemas"]
HIT = DESCRIBED["paths"]["/counters/{name}/hits"]["post"]
AMOUNT, KEY = ({p["name"]: p["schema"] for p in HIT["parameters"]}[name] for name in
               ("amount", "Idempotency-Key"))  # fmt: skip


def test_document_has_all_routes():
    """The document has all routes but static files and Flask's HEAD and OPTIONS, and no others."""
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method)
        for rule in create_app({}).url_map.iter_rules()
        if rule.endpoint != "static"
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    described = {
        (path, method.upper())
        for path, operations in DESCRIBED["paths"].items()
        for method in operations
    }
    # HEAD is described where GET counts.
    assert routes | {("/count", "HEAD")} == described


def test_document_is_served():
    """The app serves the document as JSON."""
    response = create_app({}).test_client().get("/openapi.json")
    assert response.mimetype == "application/json"
    assert response.json == DESCRIBED


def test_references():
    """Each `$ref` has its target, and each component is referenced."""

    def references(part):
        if isinstance(part, dict):
            yield from [part["$ref"]] if "$ref" in part else []
            part = list(part.values())
        if isinstance(part, list):
            for item in part:
                yield from references(item)

    there = {
        f"#/components/{kind}/{name}"
        for kind, parts in DESCRIBED["components"].items()
        for name in parts
        if kind != "securitySchemes"
    }
    assert set(references(DESCRIBED)) == there


def test_security():
    """Changes need the admin key, metrics accept a token, and no other operation needs a key."""
    schemes = DESCRIBED["components"]["securitySchemes"]
    for path, operations in DESCRIBED["paths"].items():
        for method, operation in operations.items():
            security, answers = [], set()
            if method in ("put", "delete"):
                security, answers = [{"admin": []}], {"401", "403"}
            elif path == "/metrics":
                security, answers = [{}, {"metrics": []}], {"401"}
            assert operation.get("security", []) == security
            assert {"401", "403"} & operation["responses"].keys() == answers
    assert schemes.keys() == {"admin", "metrics"}


def test_component_names():
    """Component names are valid by the specification, and operation IDs are unique."""
    for parts in DESCRIBED["components"].values():
        assert all(re.fullmatch("[A-Za-z0-9._-]+", name) for name in parts)
    operations = [one for path in DESCRIBED["paths"].values() for one in path.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)


def accepts(check, refusal, value):
    """Return whether a check accepts a value."""
    try:
        check(value)
    except refusal:
        return False
    return True


# Many examples are valid or almost valid.
NEARLY = st.text(st.sampled_from('aZ09._-"\\ ,;~!\té\n'), max_size=70) | st.text(max_size=300)


@given(NEARLY)
def test_name_pattern(name):
    """The pattern Name accepts what check_name accepts."""
    matches = re.search(SCHEMAS["Name"]["pattern"].replace("$", r"\Z"), name) is not None
    assert matches == accepts(check_name, InvalidNameError, name)


@given(st.text(st.sampled_from("a.jsontxvg/\n"), max_size=6) | NEARLY)
@example("a.json")
@example(".svg")
@example("..")
@example("...")
def test_plain_name_pattern(name):
    """The pattern PlainName accepts what require_url_safe_name accepts."""
    matches = re.search(SCHEMAS["PlainName"]["pattern"].replace("$", r"\Z"), name) is not None
    assert matches == accepts(require_url_safe_name, (InvalidNameError, BadRequest), name)


@given(NEARLY | NEARLY.map(lambda key: f'"{key}"'))
def test_idempotency_key_pattern(key):
    """The pattern of Idempotency-Key accepts what parse_idempotency_key accepts."""
    key = key.strip(" \t")
    matches = re.search(KEY["pattern"].replace(")$", r")\Z"), key) is not None
    assert matches == accepts(parse_idempotency_key, BadRequest, key)


@pytest.mark.parametrize("amount", [0, 1, 2, MAX_VALUE, MAX_VALUE + 1, -1])
def test_amount_bounds(amount):
    """The bounds and the default of amount are those of parse_amount."""
    within = AMOUNT["minimum"] <= amount <= AMOUNT["maximum"]
    query = MultiDict({"amount": str(amount)})
    assert within == accepts(parse_amount, InvalidAmountError, query)
    assert parse_amount(MultiDict()) == AMOUNT["default"]
