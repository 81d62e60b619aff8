"""What a load balancer and an operator ask."""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint, Response, jsonify

from ..errors import StoreError
from ..state import current_state
from .errors import problem

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def alive() -> Response:
    """Answer that the process lives; never asks the store."""
    return jsonify(status="alive")


@blueprint.get("/readyz")
def ready() -> Response:
    """Answer whether hits are taken: the store answers within the deadline, or there is a spool."""
    counter = current_state().counter
    spool = counter.spool
    try:
        counter.ping()
    except StoreError:
        if spool is None:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, "Not ready: the store does not answer.")
        return jsonify(status="spooling", spooled=spool.length())
    return (
        jsonify(status="ready")
        if spool is None
        else jsonify(status="ready", spooled=spool.length())
    )
