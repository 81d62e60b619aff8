"""Builders of OpenAPI operation and response objects."""

from __future__ import annotations

from typing import Any

from ..negotiation import HTML, JSON, SVG, TEXT
from ..problems import PROBLEM
from .components import HEADERS, ref, schema

_PROBLEM_DESCRIPTIONS = {
    400: "A name, a number, the body, or one of the headers Accept, Host, Idempotency-Key and "
    "If-None-Match is malformed; or the query has an unknown parameter.",
    401: "The admin key, or the metrics token, is missing or wrong.",
    403: "Counters cannot be changed: the service has no admin key.",
    404: "The counter does not exist, or its name contains a slash. By default a hit creates the "
    "counter.",
    406: f"Accept allows none of {JSON}, {TEXT} and {HTML}, nor another media type of this route.",
    409: "The counter would exceed its largest value; or it does not exist, and the maximum number "
    "of counters is reached. Nothing was changed.",
    411: "The body is chunked, and this server cannot read chunks. Send a Content-Length.",
    412: "The condition of If-Match or If-None-Match is false. Nothing was changed.",
    413: "The body is larger than 64 KiB.",
    414: "The URL is longer than 16 KiB, which the production server does not read.",
    422: "The Idempotency-Key was used for a hit with another amount. Nothing was counted.",
    429: "The client exceeds the rate limit, or has sent too many wrong keys. Nothing was counted "
    "or changed.",
    500: "The store holds something that is not an integer under the counter's key. It is left "
    "untouched.",
    501: "The service cannot do this: the library for charts or metrics is not installed, or the "
    "server cannot send events.",
    503: "The store cannot be reached, does not answer in time, or rejects the command. For a hit "
    "or a change, `counted` is its outcome: false or unknown.",
}
_PROBLEM_HEADERS = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}


def operation(
    operation_id: str,
    summary: str,
    *parameters: dict[str, Any],
    responses: dict[str, Any],
    **members: Any,
) -> dict[str, Any]:
    """Return an operation object.

    :param responses: response objects by status.
    :param members: additional members, e.g. ``requestBody``.
    """
    result: dict[str, Any] = {"operationId": operation_id, "summary": summary, **members}
    if parameters:
        result["parameters"] = list(parameters)
    return result | {"responses": dict(sorted(responses.items()))}


def response(
    description: str, content: dict[str, Any], *headers: str, cacheable: bool = False
) -> dict[str, Any]:
    """Return a response object.

    :param content: media type objects by media type.
    :param headers: names of its headers among the components.
    :param cacheable: whether it has an ETag, and ``no-cache`` in place of ``no-store``.
    """
    refs = {"Cache-Control": ref("headers", "NoCache" if cacheable else "NoStore")}
    refs |= {name: ref("headers", name) for name in (*headers, *(["ETag"] if cacheable else []))}
    return {"description": description, "headers": refs, "content": content}


def json_content(name: str) -> dict[str, Any]:
    """Return the content of a JSON document with a schema of the components."""
    return {JSON: schema(name)}


TEXT_CONTENT: dict[str, Any] = {
    TEXT: {"schema": {"type": "string", "pattern": r"^(0|-?[1-9][0-9]{0,18})\n$"}}
}


def value_content(name: str) -> dict[str, Any]:
    """Return the content of a counter's value: JSON, text and HTML."""
    return {**json_content(name), **TEXT_CONTENT, HTML: {}}


def read_responses(
    description: str, content: dict[str, Any], *statuses: int, vary: bool = False
) -> Any:
    """Return the responses of a route that reads.

    :param statuses: additional problems.
    :param vary: whether the response depends on ``Accept``.
    """
    headers = ["Vary"] if vary else []
    success = {
        "200": response(description, content, *headers, cacheable=True),
        "304": not_modified(*headers),
    }
    return success | problem_responses(400, 412, 413, 500, 503, *statuses)


def not_modified(*headers: str) -> dict[str, Any]:
    """Return the response 304."""
    result = response("The client's copy is still valid.", {}, *headers, cacheable=True)
    del result["content"]
    return result


def picture_responses(description: str, *headers: str) -> dict[str, Any]:
    """Return the responses of a picture, whose status is always 200.

    :param headers: names of additional headers, present if there is no value.
    """
    error_headers = {name: ref("headers", name) for name in ("Counter-Status", *headers)}
    error_headers["Retry-After"] = ref("headers", "Retry-After")
    # A picture in place of a problem is not cached.
    cache_control = {"required": True, "schema": {"enum": ["no-cache", "no-store"]}}
    return {
        "200": {
            "description": f"{description} If there is no value, it shows a word, and "
            "`Counter-Status` is the status of the problem.",
            "headers": {
                "Cache-Control": cache_control,
                "ETag": {**HEADERS["ETag"], "required": False},
                **error_headers,
            },
            "content": {SVG: {}},
        }
    }


def problem_responses(*statuses: int) -> dict[str, Any]:
    """Return the responses of problems, by status."""
    return {str(status): _problem(status) for status in statuses}


def _problem(status: int) -> dict[str, Any]:
    with_status = {"properties": {"status": {"const": status}}}
    content = {PROBLEM: {"schema": ref("schemas", "Problem") | with_status}, HTML: {}}
    extra = [_PROBLEM_HEADERS[status]] if status in _PROBLEM_HEADERS else []
    return response(_PROBLEM_DESCRIPTIONS[status], content, "Vary", *extra)
