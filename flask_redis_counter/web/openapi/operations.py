"""How the service's description puts operations and their answers into words."""

from __future__ import annotations

from typing import Any

from ..negotiation import HTML, JSON, SVG, TEXT
from ..problems import PROBLEM
from .components import HEADERS, ref, schema

_REFUSALS = {
    400: "A name, a number, a body, or the header Accept, Host, Idempotency-Key or If-None-Match "
    "is malformed; or the query has something that is not read here.",
    401: "The admin key, or the token of the metrics, is missing, or is another one.",
    403: "Nobody may: the service has no admin key.",
    404: "There is no such counter, or what should be its name has a slash in it. A hit makes a "
    "counter, unless the service is set up otherwise.",
    406: f"Accept allows none of {JSON}, {TEXT} and {HTML}, nor another form that there is here.",
    409: "The counter would go beyond its largest value; or there is none of this name, and as "
    "many others as there may be. Nothing was changed.",
    411: "A chunked body, under a server that does not read any.",
    412: "It is not as If-Match or If-None-Match says. Nothing was changed.",
    413: "A body of more than 64 KiB.",
    422: "The Idempotency-Key stands for a hit of another amount. Nothing was counted.",
    429: "The client comes more often than it may, where there is a rate, or has given too many "
    "wrong keys. Nothing was counted or changed.",
    500: "The store holds something that is not an integer where the counter should be. It is left "
    "untouched.",
    501: "The service is not set up for this: it has no library for charts or metrics, or runs on "
    "a server that cannot send events.",
    503: "The store cannot be reached, does not answer in time, or refuses. Of a hit or a change, "
    "`counted` says what became of it: false, or unknown.",
}
_ADDED = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}


def operation(
    identity: str,
    summary: str,
    *parameters: dict[str, Any],
    answers: dict[str, Any],
    **members: Any,
) -> dict[str, Any]:
    """Describe what a method of a path does.

    :param members: further members of it, as ``requestBody``.
    """
    described: dict[str, Any] = {"operationId": identity, "summary": summary, **members}
    if parameters:
        described["parameters"] = list(parameters)
    return described | {"responses": dict(sorted(answers.items()))}


def answer(
    description: str, content: dict[str, Any], *headers: str, kept: bool = False
) -> dict[str, Any]:
    """Describe an answer.

    :param content: its forms.
    :param headers: those that go with it.
    :param kept: whether the client may keep it, and ask whether it still holds.
    """
    there = {"Cache-Control": ref("headers", "NoCache" if kept else "NoStore")}
    there |= {name: ref("headers", name) for name in (*headers, *(["ETag"] if kept else []))}
    return {"description": description, "headers": there, "content": content}


def as_json(name: str) -> dict[str, Any]:
    """Return the one form of a document."""
    return {JSON: schema(name)}


AS_TEXT: dict[str, Any] = {
    TEXT: {"schema": {"type": "string", "pattern": r"^(0|-?[1-9][0-9]{0,18})\n$"}}
}


def forms(name: str) -> dict[str, Any]:
    """Return the forms of a counter's value."""
    return {**as_json(name), **AS_TEXT, HTML: {}}


def read(description: str, content: dict[str, Any], *statuses: int, vary: bool = False) -> Any:
    """Describe the answers of what reads and can be kept.

    :param statuses: further problems that it answers.
    """
    headers = ["Vary"] if vary else []
    answers = {"200": answer(description, content, *headers, kept=True), "304": same(*headers)}
    return answers | problems(400, 412, 413, 500, 503, *statuses)


def same(*headers: str) -> dict[str, Any]:
    """Describe the answer to a client that has what it asks for."""
    described = answer("What the client has still holds.", {}, *headers, kept=True)
    del described["content"]
    return described


def picture(description: str, *headers: str) -> dict[str, Any]:
    """Describe the answers of a picture, which is shown only where the status is 200."""
    in_place_of_a_problem = {name: ref("headers", name) for name in ("Counter-Status", *headers)}
    in_place_of_a_problem["Retry-After"] = ref("headers", "Retry-After")
    # A picture in place of a problem is not kept.
    control = {"required": True, "schema": {"enum": ["no-cache", "no-store"]}}
    return {
        "200": {
            "description": f"{description} Where there is no value it says so in a word, and "
            "`Counter-Status` has the status that a problem would have.",
            "headers": {
                "Cache-Control": control,
                "ETag": {**HEADERS["ETag"], "required": False},
                **in_place_of_a_problem,
            },
            "content": {SVG: {}},
        }
    }


def problems(*statuses: int) -> dict[str, Any]:
    """Describe the answers that are problems."""
    return {str(status): _problem(status) for status in statuses}


def _problem(status: int) -> dict[str, Any]:
    of_status = {"properties": {"status": {"const": status}}}
    forms = {PROBLEM: {"schema": ref("schemas", "Problem") | of_status}, HTML: {}}
    return answer(_REFUSALS[status], forms, "Vary", *([_ADDED[status]] if status in _ADDED else []))
