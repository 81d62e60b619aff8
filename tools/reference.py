"""The reference sections of the docs, generated from the code as Markdown.

``docs/conf.py`` inserts them in place of comments such as ``<!-- reference: settings -->``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import click

from flask_redis_counter import errors as error_tree
from flask_redis_counter.cli.main import main
from flask_redis_counter.config.settings import SETTINGS, Setting
from flask_redis_counter.extension.commands import counter_group
from flask_redis_counter.store.acl import FEATURES, acl_rules
from flask_redis_counter.web.app import MAX_BODY_BYTES
from flask_redis_counter.web.http import connection, connection_table, parser
from flask_redis_counter.web.http import request as http_request
from flask_redis_counter.web.openapi.document import document
from flask_redis_counter.web.server import supervisor, worker, wsgi

_METHODS = ("get", "head", "post", "put", "delete")
# Credentials by the name of their security scheme; an empty scheme makes them optional.
_CREDENTIALS = {"admin": "the admin key", "metrics": "the metrics token, if one is set"}


def settings(known: Iterable[Setting] = SETTINGS.values()) -> str:
    """Return a section for each setting: first those of the store, then those of the counters."""
    groups: dict[str, list[str]] = {"Where the store is": [], "What the counters do": []}
    of_store, of_counters = groups.values()
    for setting in known:
        default = "Not set by default."
        if setting.default not in (None, ()):
            default = f"By default `{_literal(setting.default)}`."
        group = of_store if setting.name.startswith("REDIS_") else of_counters
        group.append(f"### {setting.name}\n\n{setting.help}\n\n{default}")
    return _join(f"## {title}\n\n{_join(sections)}" for title, sections in groups.items())


def commands(
    groups: Iterable[tuple[str, click.Command]] = (
        ("flask-redis-counter", main),
        ("flask counter", counter_group),
    ),
) -> str:
    """Return a section with the ``--help`` of each command; a command of two groups has one."""
    described: list[click.Command] = []
    return _join(_join(_helps(name, command, None, described)) for name, command in groups)


def _helps(
    name: str, command: click.Command, parent: click.Context | None, described: list[click.Command]
) -> Iterator[str]:
    options = {**command.context_settings, "max_content_width": 80}
    context = click.Context(command, parent, name, **options)
    title = f"{'##' if parent is None else '###'} {context.command_path}"
    yield f"{title}\n\n```text\n{command.get_help(context)}\n```"
    described.append(command)
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            one = command.get_command(context, inner)
            if one is not None and not one.hidden and one not in described:
                yield from _helps(inner, one, context, described)


def http(api: Mapping[str, Any] | None = None) -> str:
    """Return sections for the operations of the service, its problems and its documents."""
    api = document() if api is None else api
    operations = [
        (f"{method.upper()} {path}", methods[method])
        for path, methods in api["paths"].items()
        for method in _METHODS
        if method in methods
    ]
    problems = {
        status: _description(one)
        for _, operation in operations
        for status, one in operation["responses"].items()
        if _is_problem(status)
    }
    documents = api["components"]["schemas"]
    return _join(
        [
            api["info"]["description"].strip(),
            "## Operations",
            *(_operation(title, operation) for title, operation in operations),
            "## Problems",
            _table(
                ("status", "when"),
                [(_status(status), problems[status]) for status in sorted(problems)],
            ),
            "## Documents",
            *(_document(name, schema) for name, schema in documents.items()),
        ]
    )


def errors() -> str:
    """Return the tree of the errors, and an autodoc directive for each."""
    _, tree = (error_tree.__doc__ or "").split("\n\n", 1)
    classes = [
        f".. autoexception:: flask_redis_counter.errors.{name}\n   :show-inheritance:"
        for name, thing in vars(error_tree).items()
        if isinstance(thing, type) and issubclass(thing, error_tree.CounterError)
    ]
    return _join([f"```text\n{tree.strip()}\n```", f"```{{eval-rst}}\n{_join(classes)}\n```"])


def rights() -> str:
    """Return the ACL rules that each feature needs, and all rules together."""
    rows = [
        (feature.name, feature.consequence, f"`{acl_rules('counter:', [feature.name])}`")
        for feature in FEATURES.values()
    ]
    usual = [name for name in FEATURES if name not in ("fsync", "replica")]
    return _join(
        [
            _table(("feature", "without these rules", "ACL rules"), rows),
            "All rules except those of `fsync` and `replica`:",
            f"```text\nACL SETUSER counter on >PASSWORD {acl_rules('counter:', usual)}\n```",
        ]
    )


def limits() -> str:
    """Return the table of the time-outs and limits of the production server."""
    share = f"{100 * connection_table.EVICTED_SHARE:g} %"
    return f"""\
| what | limit | beyond it |
| --- | --- | --- |
| first byte of a connection, or its TLS handshake | {connection.FIRST_BYTE_TIMEOUT:g} s | closed |
| head, from its first byte on | {connection.HEAD_TIMEOUT:g} s | 408, closed |
| body, from the end of the head on | {connection.BODY_TIMEOUT:g} s | 408, closed |
| next request on a connection (keep-alive) | {connection.KEEP_ALIVE_TIMEOUT:g} s | closed |
| reading by the client, while responses wait | {connection.WRITE_TIMEOUT:g} s | closed |
| sending by the client, after an error or the last request \
| {connection.LINGER_TIMEOUT:g} s | closed |
| silence of the network to the client (Linux) | {worker.NETWORK_TIMEOUT:g} s | closed |
| rest of a request that has begun, after SIGTERM | {connection.DRAIN_TIMEOUT:g} s | 408, closed |
| requests in flight, after SIGTERM | {supervisor.SHUTDOWN_TIMEOUT:g} s | closed |
| target: path and query | {_size(parser.MAX_TARGET_BYTES)} | 414, closed |
| head | {_size(parser.MAX_HEAD_BYTES)} | 431, closed |
| header fields with different names | {http_request.MAX_FIELDS} | 431, closed |
| body | {_size(MAX_BODY_BYTES)} | 413, closed |
| body with the framing of its chunks | \
{_size(parser.MAX_CHUNK_OVERHEAD * MAX_BODY_BYTES)} | 413, closed |
| unanswered requests of a connection (pipelining) | {connection.MAX_PIPELINED} \
| the next ones are not read |
| unsent bytes of a connection | {_size(connection.WRITE_BUFFER_BYTES)} \
| no request starts until its client reads |
| bytes that all connections of a worker hold: unsent, or received and waiting \
| {_size(connection_table.MAX_HELD_BYTES)} | those that have held some longest are closed |
| connections of a worker: {_link("COUNTER_MAX_CONNECTIONS")} \
| {SETTINGS["COUNTER_MAX_CONNECTIONS"].default} \
| the {share} that have waited longest for a request are closed; 503 if none waits |
| connections that were closed to make room, and have not ended \
| {connection_table.MAX_EVICTED} | the oldest are cut |
| bytes that a TLS connection receives ahead | {_size(connection.TLS_READ_BUFFER_BYTES)} \
| the next ones stay on the network |
| listeners to `/live` of a worker: {_link("COUNTER_MAX_LISTENERS")} \
| {SETTINGS["COUNTER_MAX_LISTENERS"].default} | 503 |
| requests of a worker in Flask: {wsgi.THREADS} in threads, the others wait \
| {wsgi.MAX_QUEUED} | 503 |"""


def _size(value: int) -> str:
    return f"{value / 2**20:g} MiB" if value >= 2**20 else f"{value / 2**10:g} KiB"


def _link(name: str) -> str:
    """Return a link to a setting."""
    return f"[`{name}`](configuration.md#{name.lower().replace('_', '-')})"


def _operation(title: str, operation: Mapping[str, Any]) -> str:
    parts = [f"### {title}", operation["summary"] + "."]
    schemes = operation.get("security", [])
    for scheme in (name for one in schemes for name in one):
        verb = "Takes" if {} in schemes else "Needs"
        parts.append(f"{verb} {_CREDENTIALS[scheme]}: `Authorization: Bearer …`.")
    if "parameters" in operation:
        rows = [
            (f"`{one['name']}`", one["in"], _description(one), _words(one["schema"]))
            for one in operation["parameters"]
        ]
        parts.append(_table(("parameter", "in", "description", "value"), rows))
    if "requestBody" in operation:
        parts.append(f"The body: {_forms(operation['requestBody']['content'])}.")
    answers = operation["responses"].items()
    rows = [
        (_status(status), _description(one), _forms(one.get("content", {})))
        for status, one in answers
        if not _is_problem(status)
    ]
    parts.append(_table(("response", "when", "media types"), rows))
    problems = [status for status, _ in answers if _is_problem(status)]
    if problems:
        parts.append(f"[Problems](#problems): {', '.join(problems)}.")
    return _join(parts)


def _is_problem(status: str) -> bool:
    return int(status) >= 400


def _status(status: str) -> str:
    return f"{status} {HTTPStatus(int(status)).phrase}"


def _forms(content: Mapping[str, Any]) -> str:
    return ", ".join(
        f"`{form}`" + (f" ({_words(one['schema'])})" if "$ref" in one.get("schema", {}) else "")
        for form, one in content.items()
    )


def _document(name: str, schema: Mapping[str, Any]) -> str:
    parts = [f"### {name}", _description(schema)]
    if "properties" in schema:
        required = schema.get("required", ())
        rows = [
            (
                f"`{member}`" + ("" if member in required else " (optional)"),
                _description(one),
                _words(one),
            )
            for member, one in _members(schema)
        ]
        parts.append(_table(("member", "description", "value"), rows))
    else:
        parts.append(f"Value: {_words(schema)}.")
    return _join(part for part in parts if part)


def _members(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    found = dict(schema["properties"])
    for variant in schema.get("oneOf", ()):
        for member, one in variant["properties"].items():
            if one is not False:
                found.setdefault(member, one)
    yield from found.items()


def _description(described: Mapping[str, Any]) -> str:
    return str(described.get("description", ""))


def _words(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{_literal(schema['const'])}`"
    for several in ("enum", "anyOf"):
        if several in schema:
            ones = schema[several]
            words = [f"`{_literal(one)}`" if several == "enum" else _words(one) for one in ones]
            return " or ".join(words)
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        kind = f"array of {_words(schema['items'])}" if "items" in schema else kind
    elif kind == "object" and schema.get("properties"):
        members = (f"`{name}` ({_words(one)})" for name, one in schema["properties"].items())
        kind = f"object of {', '.join(members)}"
    return kind + "".join(_bounds(schema))


def _bounds(schema: Mapping[str, Any]) -> Iterator[str]:
    if "minimum" in schema:
        upto = f" to {schema['maximum']}" if "maximum" in schema else " or more"
        yield f", {schema['minimum']}{upto}"
    if "maxItems" in schema:
        yield f", up to {schema['maxItems']}"
    if "pattern" in schema:
        yield f", `{schema['pattern']}`"
    if "default" in schema:
        yield f", by default `{schema['default']}`"


def _literal(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).replace("\n", "\\n")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def _join(parts: Iterable[str]) -> str:
    return "\n\n".join(parts)


#: Sections by the name in the comment.
SECTIONS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "commands": commands,
    "http": http,
    "errors": errors,
    "rights": rights,
    "limits": limits,
}


def fill_references(text: str) -> str:
    """Return a page with its references in place of the comments."""
    for name, render in SECTIONS.items():
        text = text.replace(f"<!-- reference: {name} -->", render())
    return text
