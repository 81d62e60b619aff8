"""The description for machines says what the code does."""

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


def test_each_route_is_described_and_the_other_way_round():
    """But for the pages' own files, and for what Flask does by itself with HEAD and OPTIONS."""
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
    # HEAD is a story of its own where GET counts.
    assert routes | {("/count", "HEAD")} == described


def test_it_is_served():
    """By the app, as JSON."""
    response = create_app({}).test_client().get("/openapi.json")
    assert response.mimetype == "application/json"
    assert response.json == DESCRIBED


def test_what_it_refers_to_is_there():
    """Each `$ref` has its place, and each part of the components is referred to."""

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


def test_what_changes_counters_takes_the_admin_key():
    """Metrics may take a token, and nothing else takes any; so say the answers, and the schemes."""
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


def test_names_of_components():
    """They are those that the specification allows, and no operation has another one's."""
    for parts in DESCRIBED["components"].values():
        assert all(re.fullmatch("[A-Za-z0-9._-]+", name) for name in parts)
    operations = [one for path in DESCRIBED["paths"].values() for one in path.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)


def accepts(check, refusal, value):
    """Whether a check takes a value."""
    try:
        check(value)
    except refusal:
        return False
    return True


# Much of what is drawn is right or nearly so.
NEARLY = st.text(st.sampled_from('aZ09._-"\\ ,;~!\té\n'), max_size=70) | st.text(max_size=300)


@given(NEARLY)
def test_names(name):
    """The pattern is the rule."""
    matches = re.search(SCHEMAS["Name"]["pattern"].replace("$", r"\Z"), name) is not None
    assert matches == accepts(check_name, InvalidNameError, name)


@given(st.text(st.sampled_from("a.jsontxvg/\n"), max_size=6) | NEARLY)
@example("a.json")
@example(".svg")
@example("..")
@example("...")
def test_plain_names(name):
    """The pattern is the rule."""
    matches = re.search(SCHEMAS["PlainName"]["pattern"].replace("$", r"\Z"), name) is not None
    assert matches == accepts(require_url_safe_name, (InvalidNameError, BadRequest), name)


@given(NEARLY | NEARLY.map(lambda key: f'"{key}"'))
def test_keys(key):
    """The pattern is the rule, for what a client sends without blanks around it."""
    key = key.strip(" \t")
    matches = re.search(KEY["pattern"].replace(")$", r")\Z"), key) is not None
    assert matches == accepts(parse_idempotency_key, BadRequest, key)


@pytest.mark.parametrize("amount", [0, 1, 2, MAX_VALUE, MAX_VALUE + 1, -1])
def test_amounts(amount):
    """The bounds are the rule's."""
    within = AMOUNT["minimum"] <= amount <= AMOUNT["maximum"]
    query = MultiDict({"amount": str(amount)})
    assert within == accepts(parse_amount, InvalidAmountError, query)
    assert parse_amount(MultiDict()) == AMOUNT["default"]
