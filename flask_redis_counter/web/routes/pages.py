"""Routes of the welcome page and of ``/count``."""

from __future__ import annotations

from flask import Blueprint, Response, render_template, request
from werkzeug.exceptions import BadRequest

from ...extension.state import current_state
from ..negotiation import media_type
from ..request_checks import reject_invalid_request
from ..responses import hit_response, value_response
from .live import SLOT_KEY

blueprint = Blueprint("counter", __name__)
blueprint.before_request(reject_invalid_request)


@blueprint.get("/")
def welcome() -> Response:
    """Return the welcome page, even while the store cannot be reached."""
    body = render_template(
        "welcome.html", name=current_state().config.name, live=SLOT_KEY in request.environ
    )
    return Response(body, headers={"Cache-Control": "no-store"})


@blueprint.route("/count", methods=["GET", "POST"])
def count() -> Response:
    """Count a visit, and return the new value. HEAD only reads."""
    mimetype = media_type(request.headers.get("Accept", ""))
    state = current_state()
    name = state.config.name
    if request.method == "HEAD":
        return value_response(mimetype, name, state.counter.value(name))
    if "amount" in request.args:
        raise BadRequest(f"/count takes no amount. Send POST /counters/{name}/hits?amount=7.")
    return hit_response(mimetype, name, 1, state.config.limits)
