"""Health routes: liveness and readiness."""

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
    """Report that the process is alive. Never asks the store."""
    return jsonify(status="alive")


@blueprint.get("/readyz")
def ready() -> Response:
    """Report whether hits are accepted: the store is ready, or there is a spool."""
    counter = current_state().counter
    status = "ready"
    if counter.journal.rejects:
        return problem_response(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "Not ready: the journal is full, because the store's replicas or its disk do not "
            "confirm acknowledged hits.",
        )
    try:
        counter.check_ready()
    except StoreError as error:
        if counter.spool is None:
            problem = "rejects hits" if isinstance(error, StoreRejectedError) else "does not answer"
            detail = f"Not ready: the store {problem}."
            return problem_response(HTTPStatus.SERVICE_UNAVAILABLE, detail)
        status = "spooling"
    members: dict[str, Any] = {"status": status}
    if status == "ready" and _lacks_memory():
        members["idempotency_keys"] = "refused"
    if journal := _describe_journal():
        members["journal"] = journal
    if counter.spool is None:
        return jsonify(members)
    try:
        return jsonify(**members, spooled=counter.spool.pending_hits())
    except SpoolError:
        return problem_response(
            HTTPStatus.SERVICE_UNAVAILABLE, "Not ready: the spool cannot be read."
        )


def _describe_journal() -> dict[str, float]:
    """Return the state of the journals of all processes; empty if nothing is to be said."""
    snapshot = current_state().counter.metrics.snapshot()
    if not (snapshot.journal_entries or snapshot.reconciliations):
        return {}
    return {
        "entries": snapshot.journal_entries,
        "age_seconds": round(snapshot.journal_age, 3),
        "reconciliations": snapshot.reconciliations,
        "resent_hits": snapshot.resent_hits,
    }


def _lacks_memory() -> bool:
    """Return whether memory is too full for new idempotency keys. Hits without one count."""
    state = current_state()
    try:
        store = state.counter.store_info()
    except StoreError:
        return False  # without the right to INFO the service rejects no keys for it either
    share = state.config.limits.idempotency_memory or 100
    return store.memory_limit is not None and store.memory * 100 >= store.memory_limit * share
