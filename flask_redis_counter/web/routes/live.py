"""Who may listen to which counters; :mod:`.hub` has what they hear."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest, NotFound

from ...extension.state import current_state
from ...validation import check_name
from ..problems import problem
from ..representations import only
from ..responses import hold_back

#: Under what the front tells the views of a request that there is live news, and of its seat.
LIVE = "flask_redis_counter.live"

#: How many counters one listener may hear of: those of a page of statistics.
MOST_NAMES = 20

EVENTS = "text/event-stream"

blueprint = Blueprint("live", __name__)
blueprint.before_request(hold_back)


@dataclass(slots=True)
class Seat:
    """A listener's place, before it is taken.

    :ivar free: whether there was one.
    :ivar names: the counters that are asked for; the view fills them in.
    """

    free: bool
    names: list[str] = field(default_factory=list)


@blueprint.get("/live")
def stream() -> Response:
    """Check what is asked for; the front goes on with the events where the answer is 200."""
    only(request.args, "name")
    config = current_state().config
    names = [check_name(name) for name in request.args.getlist("name")] or [config.name]
    if len(names) > MOST_NAMES:
        raise BadRequest(f"Ask for up to {MOST_NAMES} names.")
    if not config.live:
        raise NotFound("There are no live counters here: COUNTER_LIVE is 0.")
    seat = request.environ.get(LIVE)
    if request.method == "HEAD" and LIVE in request.environ:
        seat = Seat(free=True)  # it takes none
    if not isinstance(seat, Seat):
        detail = "Live counters need the production server: flask-redis-counter serve."
        return problem(HTTPStatus.NOT_IMPLEMENTED, detail)
    if not seat.free:
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, "As many listen as there is room for.")
    seat.names = names
    # A proxy must not hold events back (nginx's word for it); an iterable has no length.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Response(iter(()), mimetype=EVENTS, headers=headers)
