"""The reference pages of the docs."""

import re
import runpy
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

import flask_redis_counter
from flask_redis_counter import errors
from flask_redis_counter.cli.main import main
from flask_redis_counter.config.settings import SETTINGS, Setting
from flask_redis_counter.extension.commands import counter_group
from flask_redis_counter.store.acl import FEATURES
from flask_redis_counter.web.http import connection, connection_table, parser, request
from flask_redis_counter.web.openapi.document import document

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"

# Not by its name: with the folder of the checkout on the path, the package there would be tested.
reference = SimpleNamespace(**runpy.run_path(str(ROOT / "tools" / "reference.py")))


def described(**members):
    """Return the description of a service with one operation."""
    schema = {"components": {"schemas": members.pop("schemas", {})}}
    operation = {"summary": "Look", "responses": {"200": {"description": "Seen."}}} | members
    return {"info": {"description": "A service.\n"}, "paths": {"/it": {"get": operation}}} | schema


def test_settings_and_their_defaults():
    """Where the store is comes first; a default is shown as it would be set."""
    known = [
        Setting("COUNTER_A", str, True, "A switch."),
        Setting("REDIS_B", str, None, "Nothing."),
        Setting("COUNTER_C", str, (), "A list."),
        Setting("COUNTER_D", str, 0.5, "A number."),
    ]
    assert reference.settings(known) == (
        "## Where the store is\n\n### REDIS_B\n\nNothing.\n\nNot set by default.\n\n"
        "## What the counters do\n\n### COUNTER_A\n\nA switch.\n\nBy default `true`.\n\n"
        "### COUNTER_C\n\nA list.\n\nNot set by default.\n\n"
        "### COUNTER_D\n\nA number.\n\nBy default `0.5`."
    )


def test_every_setting_is_there():
    """With all that the code says of it."""
    text = reference.fill_references((DOCS / "configuration.md").read_text("utf-8"))
    for setting in SETTINGS.values():
        assert f"### {setting.name}\n\n{setting.help}\n\n" in text


def test_every_operation_is_there():
    """Once, with the link to each document that it has."""
    text = reference.fill_references((DOCS / "http.md").read_text("utf-8"))
    operations = [
        f"{method.upper()} {path}"
        for path, methods in document()["paths"].items()
        for method in methods
    ]
    assert sorted(re.findall(r"^### ([A-Z]+ /.*)$", text, re.M)) == sorted(operations)
    documents = {name.lower() for name in document()["components"]["schemas"]}
    assert set(re.findall(r"\(#([a-z]+)\)", text)) - {"problems"} <= documents


def public_numbers(module):
    """Return the public numeric constants of a module."""
    return {
        name: value
        for name, value in vars(module).items()
        if name.isupper() and not name.startswith("_") and type(value) in (int, float)
    }


def test_limits_of_connections_are_there():
    """The table has each time-out and size of a connection; a new one needs a row."""
    text = reference.fill_references((DOCS / "server.md").read_text("utf-8"))
    numbers = public_numbers(connection) | public_numbers(connection_table)
    numbers |= public_numbers(parser) | public_numbers(request)
    # The first one is in a sentence, the second one times the body's limit, the third in percent.
    for name in ("CHECK_INTERVAL", "MAX_CHUNK_OVERHEAD", "EVICTED_SHARE"):
        del numbers[name]
    for name, value in numbers.items():
        shown = f"{value:g} s" if name.endswith("_TIMEOUT") else str(value)
        if name.endswith("_BYTES"):
            shown = reference._size(value)
        assert f"| {shown} |" in text, f"{name} has no row in tools/reference.py: limits"
    assert "| 512 KiB | 413" in text
    assert "[`COUNTER_MAX_CONNECTIONS`](configuration.md#counter-max-connections) | 4096 |" in text


def test_an_operation_in_words():
    """Its parameters and answers are tables; problems are told once, for all operations."""
    page = reference.http(
        described(
            parameters=[
                {
                    "name": "by",
                    "in": "query",
                    "description": "Day | hour.",
                    "schema": {"enum": ["day", "hour"], "default": "day"},
                }
            ],
            security=[{"admin": []}],
            responses={
                "200": {
                    "description": "Seen.",
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Seen"}},
                        "text/html": {},
                    },
                },
                "404": {"description": "There is none."},
            },
        )
    )
    assert page == (
        "A service.\n\n## Operations\n\n### GET /it\n\nLook.\n\n"
        "Needs the admin key: `Authorization: Bearer …`.\n\n"
        "| parameter | in | description | value |\n| --- | --- | --- | --- |\n"
        "| `by` | query | Day \\| hour. | `day` or `hour` |\n\n"
        "| response | when | media types |\n| --- | --- | --- |\n"
        "| 200 OK | Seen. | `application/json` ([Seen](#seen)), `text/html` |\n\n"
        "[Problems](#problems): 404.\n\n"
        "## Problems\n\n| status | when |\n| --- | --- |\n| 404 Not Found | There is none. |\n\n"
        "## Documents"
    )


def test_operation_names_its_security_scheme():
    """An operation names the metrics token instead of the admin key, and that it is optional."""
    page = reference.http(described(security=[{}, {"metrics": []}]))
    assert "Takes the metrics token, if one is set: `Authorization: Bearer …`." in page
    assert "admin key" not in page


def test_every_security_scheme_has_words():
    """Each security scheme of the API has a credential in the reference."""
    assert reference._CREDENTIALS.keys() == document()["components"]["securitySchemes"].keys()


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"const": False}, "`false`"),
        ({"const": "spooled\n"}, "`spooled\\n`"),
        ({"type": "integer", "minimum": 1, "maximum": 9}, "integer, 1 to 9"),
        ({"type": "integer", "minimum": 0}, "integer, 0 or more"),
        ({"type": "integer", "default": 3}, "integer, by default `3`"),
        ({"type": "string", "pattern": "^A-Z$"}, "string, `^A-Z$`"),
        ({"anyOf": [{"type": "null"}, {"enum": ["a"]}]}, "null or `a`"),
        ({"type": "array", "items": {"type": "string"}, "maxItems": 2}, "array of string, up to 2"),
        ({"type": "array"}, "array"),
        ({"type": "object", "properties": {"a": {"const": 1}}}, "object of `a` (`1`)"),
        ({}, "anything"),
    ],
)
def test_a_schema_in_words(schema, words):
    """Whatever the description uses."""
    page = reference.http(described(schemas={"It": {"properties": {"x": schema}}}))
    assert page.endswith(
        f"### It\n\n| member | description | value |\n| --- | --- | --- |\n"
        f"| `x` (optional) |  | {words} |"
    )


def test_a_document_that_is_a_mere_value():
    """It has no members, and its pattern is left as it is."""
    page = reference.http(described(schemas={"It": {"type": "string", "pattern": "^A-Z$"}}))
    assert page.endswith("### It\n\nValue: string, `^A-Z$`.")


def test_a_member_of_a_variant_is_told():
    """Also where the document has it in some cases only."""
    hit = {
        "description": "A hit.",
        "required": ["name"],
        "properties": {"name": {"type": "string"}},
        "oneOf": [{"properties": {"why": False}}, {"properties": {"why": {"enum": ["bot"]}}}],
    }
    page = reference.http(described(schemas={"Hit": hit}))
    assert "### Hit\n\nA hit.\n\n" in page
    assert "| `name` |  | string |\n| `why` (optional) |  | `bot` |" in page


def test_every_command_is_there():
    """With its path and its help; one that is hidden is not."""
    text = reference.fill_references((DOCS / "commands.md").read_text("utf-8"))
    told = [
        f"{path} {name}"
        for path in ("flask-redis-counter", "flask counter")
        for name in re.findall(rf"^### {path} (\w+)\n\n```text\nUsage: {path} \1 ", text, re.M)
    ]
    assert len(told) == len(set(told))
    own = {"flask counter doctor"}  # which sees other settings than the service's
    assert set(told) == {f"flask-redis-counter {name}" for name in main.list_commands(None)} | own
    assert counter_group.commands.keys() <= main.commands.keys()
    secret = click.Group("it", commands={"no": click.Command("no", hidden=True)})
    assert "no" not in reference.commands([("it", secret)]).split()


@pytest.mark.parametrize("module", ["errors", "transfer", "stats", "testing"])
def test_library_reference_of_a_submodule_is_complete(module):
    """library.md has an entry for each name in the `__all__` of the module, and no other."""
    module = f"flask_redis_counter.{module}"
    entries = library_entries(module)
    assert sorted(entries) == import_module(module).__all__


def test_library_reference_of_the_root_is_complete():
    """library.md has an entry for each name of the root; errors have theirs in `errors`."""
    entries = library_entries("flask_redis_counter")
    assert len(entries) == len(set(entries))
    assert {*entries, *errors.__all__} >= set(flask_redis_counter.__all__)
    assert set(entries) == set(flask_redis_counter.__all__) - set(errors.__all__)


def library_entries(module):
    """Return the names that library.md describes as names of a module."""
    text = reference.fill_references((DOCS / "library.md").read_text("utf-8"))
    names, current = [], ""
    for directive, name in re.findall(r"^\.\. ([\w:]+):: ([\w.]+)$", text, re.M):
        if directive == "currentmodule":
            current = name
            continue
        owner, _, name = (name if "." in name else f"{current}.{name}").rpartition(".")
        if owner == module:
            names.append(name)
    return names


def test_every_feature_has_its_rights():
    """And one line has them all, with the keys and the channels."""
    text = reference.fill_references((DOCS / "operating.md").read_text("utf-8"))
    for name in FEATURES:
        assert re.search(rf"^\| {name} \|.*~counter:\* .*\+", text, re.M), name
    (line,) = re.findall(r"^ACL SETUSER counter on >PASSWORD (.*)$", text, re.M)
    assert {"~counter:*", "&counter:*", "+config|get", "+pfadd"} <= set(line.split())


def test_a_page_gets_what_it_asks_for():
    """And keeps the rest."""
    page = reference.fill_references(
        "# A\n\n<!-- reference: commands -->\n\nB <!-- reference: none -->"
    )
    assert page.startswith("# A\n\n## flask-redis-counter\n")
    assert page.endswith("\n\nB <!-- reference: none -->")
