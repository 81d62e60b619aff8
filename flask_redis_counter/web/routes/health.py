"""What a load balancer and an operator ask."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, jsonify

from ...errors import SpoolError, StoreError, StoreRejectedError
from ...extension.state import current_state
from ..problems import problem_response

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
            does = "refuses hits" if isinstance(error, StoreRejectedError) else "does not answer"
            return problem_response(HTTPStatus.SERVICE_UNAVAILABLE, f"Not ready: the store {does}.")
        status = "spooling"
    members: dict[str, Any] = {"status": status}
    if status == "ready" and _lacks_memory():
        members["idempotency_keys"] = "refused"
    if counter.spool is None:
        return jsonify(members)
    try:
        return jsonify(**members, spooled=counter.spool.length())
    except SpoolError:
        return problem_response(
            HTTPStatus.SERVICE_UNAVAILABLE, "Not ready: the spool cannot be read."
        )


def _lacks_memory() -> bool:
    """Whether the store's memory is too full for new idempotency keys; plain hits still count."""
    state = current_state()
    try:
        store = state.counter.store_info()
    except StoreError:
        return False  # it may not be asked, and so refuses none for it
    share = state.config.limits.idempotency_memory or 100
    return store.memory_limit is not None and store.memory * 100 >= store.memory_limit * share
