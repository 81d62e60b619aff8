"""Who may listen to which counters; :mod:`.hub` has what they hear."""

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

#: Under what the front tells the views of a request that there is live news, and of its seat.
SLOT_KEY = "flask_redis_counter.live"

#: How many counters one listener may hear of: those of a page of statistics.
MAX_NAMES = 20

EVENTS = "text/event-stream"

blueprint = Blueprint("live", __name__)
blueprint.before_request(reject_invalid_request)


@dataclass(slots=True)
class ListenerSlot:
    """A listener's place, before it is taken.

    :ivar free: whether there was one.
    :ivar names: the counters that are asked for; the view fills them in.
    """

    free: bool
    names: list[str] = field(default_factory=list)


@blueprint.get("/live")
def stream() -> Response:
    """Check what is asked for; the front goes on with the events where the answer is 200."""
    reject_unknown_params(request.args, "name")
    config = current_state().config
    names = [check_name(name) for name in request.args.getlist("name")] or [config.name]
    if len(names) > MAX_NAMES:
        raise BadRequest(f"Ask for up to {MAX_NAMES} names.")
    if not config.max_listeners:
        raise NotFound("There are no live counters here: COUNTER_MAX_LISTENERS is 0.")
    seat = request.environ.get(SLOT_KEY)
    if request.method == "HEAD" and SLOT_KEY in request.environ:
        seat = ListenerSlot(free=True)  # it takes none
    if not isinstance(seat, ListenerSlot):
        detail = "Live counters need the production server: flask-redis-counter serve."
        return problem_response(HTTPStatus.NOT_IMPLEMENTED, detail)
    if not seat.free:
        return problem_response(
            HTTPStatus.SERVICE_UNAVAILABLE, "As many listen as there is room for."
        )
    seat.names = names
    # A proxy must not hold events back (nginx's word for it); an iterable has no length.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Response(iter(()), mimetype=EVENTS, headers=headers)
