"""What a load balancer and an operator ask."""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint, Response, jsonify

from ..errors import SpoolError, StoreError, StoreRefusedError
from ..state import current_state
from .errors import problem

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def alive() -> Response:
    """Answer that the process lives; never asks the store."""
    return jsonify(status="alive")


@blueprint.get("/readyz")
def ready() -> Response:
    """Answer whether hits are taken: the store would take one now, or there is a spool."""
    counter = current_state().counter
    status = "ready"
    try:
        counter.check_ready()
    except StoreError as error:
        if counter.spool is None:
            does = "refuses hits" if isinstance(error, StoreRefusedError) else "does not answer"
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, f"Not ready: the store {does}.")
        status = "spooling"
    if counter.spool is None:
        return jsonify(status=status)
    try:
        return jsonify(status=status, spooled=counter.spool.length())
    except SpoolError:
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, "Not ready: the spool cannot be read.")
