"""The welcome page, the count, and a counter's value."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, render_template, request
from werkzeug.exceptions import BadRequest, LengthRequired, NotFound, RequestEntityTooLarge

from ..state import current_state
from .counting import HEADERS, amount_in, as_json, headers_of, is_host, token_in
from .negotiation import HTML, TEXT, media_type

blueprint = Blueprint("counter", __name__)


@blueprint.before_request
def refuse() -> None:
    """Answer 4xx to a request that is malformed or too large, before anything counts."""
    if not is_host(request.headers.get("Host")):
        raise BadRequest("The Host header is malformed.")
    if "Transfer-Encoding" in request.headers:
        raise LengthRequired("Nothing here needs a body; one that comes needs a Content-Length.")
    # Only the announced length is looked at: waiting for a slow body would block a thread.
    if (request.content_length or 0) > current_app.config["MAX_CONTENT_LENGTH"]:
        raise RequestEntityTooLarge


@blueprint.get("/")
def welcome() -> Response:
    """Answer the welcome page, also while the store is away."""
    name = current_state().config.name
    return Response(
        render_template("welcome.html", name=name), headers={"Cache-Control": "no-store"}
    )


@blueprint.route("/count", methods=["GET", "POST"])
def count() -> Response:
    """Count a visit and answer the new value; HEAD reads."""
    form = media_type(request.headers.get("Accept", ""))
    state = current_state()
    name = state.config.name
    if request.method == "HEAD":
        return _answer(form, name, state.counter.value(name), counted=False)
    if "amount" in request.args:
        raise BadRequest(f"This counts one. For more: POST /counters/{name}/hits?amount=7.")
    return _counted(form, name, 1)


@blueprint.post("/counters/<name>/hits")
def hit(name: str) -> Response:
    """Count on a counter, which is made where it does not exist."""
    form = media_type(request.headers.get("Accept", ""))
    if request.content_length:
        raise BadRequest("Say the amount in the query, ?amount=7, and send no body.")
    return _counted(form, name, amount_in(request.args))


@blueprint.get("/counters/<name>")
def read(name: str) -> Response:
    """Answer a counter's value."""
    form = media_type(request.headers.get("Accept", ""))
    value = current_state().counter.value(name, None)
    if value is None:
        raise NotFound(f"There is no counter named {name}.")
    return _answer(form, name, value, counted=False)


def _counted(form: str, name: str, amount: int) -> Response:
    token = token_in(request.headers.get("Idempotency-Key"))
    hit = current_state().counter.hit(name, amount, token=token)
    response = _answer(form, hit.name, hit.value, counted=True)
    response.headers.update(headers_of(hit))
    return response


def _answer(form: str, name: str, value: int, *, counted: bool) -> Response:
    if form == HTML:
        body = render_template("count.html", name=name, value=value, counted=counted)
    elif form == TEXT:
        body = f"{value}\n"
    else:
        body = as_json(name, value, counted=counted)
    return Response(body, mimetype=form, headers=HEADERS)
