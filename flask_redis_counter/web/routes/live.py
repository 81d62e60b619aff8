"""Route of live events: checks a request; :mod:`..server.events` sends the events."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest, NotFound

from ...extension.state import current_state
from ...validation import check_name
from ..params import reject_unknown_params
from ..problems import problem_response
from ..request_checks import reject_invalid_request

#: WSGI environ key: the :class:`ListenerSlot` that the server reserved for this request.
SLOT_KEY = "flask_redis_counter.slot"

#: Maximum counters of one listener: those of a statistics page.
MAX_NAMES = 20

#: Media type of server-sent events.
EVENTS = "text/event-stream"

blueprint = Blueprint("live", __name__)
blueprint.before_request(reject_invalid_request)


@dataclass(slots=True)
class ListenerSlot:
    """Reservation for one listener.

    :ivar is_free: False if the maximum number of listeners is reached.
    :ivar names: the requested counters; the view sets them.
    """

    is_free: bool
    names: list[str] = field(default_factory=list)


@blueprint.get("/live")
def stream() -> Response:
    """Check the request. After a 200, the server sends the events."""
    reject_unknown_params(request.args, "name")
    config = current_state().config
    names = [check_name(name) for name in request.args.getlist("name")] or [config.name]
    if len(names) > MAX_NAMES:
        raise BadRequest(f"Too many names: send up to {MAX_NAMES}.")
    if not config.max_listeners:
        raise NotFound("Live counters are turned off: COUNTER_MAX_LISTENERS is 0.")
    slot = request.environ.get(SLOT_KEY)
    if request.method == "HEAD" and SLOT_KEY in request.environ:
        slot = ListenerSlot(is_free=True)  # HEAD needs no slot
    if not isinstance(slot, ListenerSlot):
        detail = "Live counters need the production server: run flask-redis-counter serve."
        return problem_response(HTTPStatus.NOT_IMPLEMENTED, detail)
    if not slot.is_free:
        return problem_response(
            HTTPStatus.SERVICE_UNAVAILABLE, "Too many live listeners; try again later."
        )
    slot.names = names
    # X-Accel-Buffering disables nginx's buffering. An iterator has no Content-Length.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Response(iter(()), mimetype=EVENTS, headers=headers)
