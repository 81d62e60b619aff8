"""The service behind the connections of a worker: hits, values, events, Flask for the rest."""

from __future__ import annotations

from http import HTTPStatus
from time import perf_counter

from flask import Flask

from ...async_counter import AsyncRedisCounter
from ...extension.state import EXTENSION_KEY, ExtensionState
from ..http.rejection import Rejection
from ..http.request import Request
from ..http.response import render_response
from ..problems import problem_response
from ..request_log import REQUEST_ID, log_request, new_request_id, parse_request_id
from ..routes.live import SLOT_KEY
from .events import EventBroadcaster
from .hits import HitHandler, HitPlan
from .reads import ReadHandler, ReadPlan
from .wsgi import FlaskThreads, WSGIResponse


class ServiceApplication:
    """Handles the requests of all connections of one event loop.

    :param app: the service.
    :ivar max_body_bytes: maximum bytes of a request's body.
    """

    def __init__(self, app: Flask) -> None:
        state: ExtensionState = app.extensions[EXTENSION_KEY]
        config = state.config
        self.max_body_bytes: int = app.config["MAX_CONTENT_LENGTH"]
        self._app = app
        self._access_log = config.access_log
        self._counter = AsyncRedisCounter(
            config.redis_url,
            prefix=config.prefix,
            timeout=config.timeout,
            durability=config.durability,
            spool=state.counter.spool,
            metrics=state.counter.metrics,
            visitors=state.counter.visitors,
            journal=state.counter.journal,
        )
        state.counter.start_replaying()  # only worker processes create this object
        self._flask = FlaskThreads(app)
        self._hits = HitHandler(app, self._counter, self._flask)
        self._reads = ReadHandler(app, self._counter, self._call_flask)
        self._broadcaster = (
            EventBroadcaster(config.redis_url, self._counter, config.max_listeners)
            if config.max_listeners
            else None
        )
        # Problem documents of rejected requests, by rejection: there are few different ones.
        self._problems: dict[Rejection, tuple[list[tuple[str, str]], bytes]] = {}

    def start(self, request: Request, is_first: bool) -> bool:
        """Start a request; see :class:`..http.connection.Application`."""
        plan = request.plan
        if plan is None and (self._hits.plan(request) or self._reads.plan(request)):
            plan = request.plan
        if isinstance(plan, HitPlan):
            self._hits.count(request)
            return True
        if not is_first:
            return False
        request.is_exclusive = True
        if isinstance(plan, ReadPlan):
            self._reads.read(request)
        else:
            self._call_flask(request)
        return True

    def render_rejection(self, rejection: Rejection, request: Request) -> bytes:
        """Return a problem document."""
        if rejection not in self._problems:
            with self._app.test_request_context():
                problem = problem_response(rejection.status, rejection.detail)
            self._problems[rejection] = (list(problem.headers), problem.data)
        headers, body = self._problems[rejection]
        if (request_id := self._log_rejection(rejection, request)) is not None:
            headers = [*headers, (REQUEST_ID, request_id)]
        body = b"" if request.method == "HEAD" else body
        return render_response(rejection.status, headers, body, request)

    def end_streams(self) -> None:
        """End the event streams, which would never end otherwise."""
        if self._broadcaster is not None:
            self._broadcaster.close()

    async def aclose(self) -> None:
        """Close the connections to the store; end each thread after its current response."""
        self.end_streams()
        await self._counter.aclose()
        self._flask.close()

    def _log_rejection(self, rejection: Rejection, request: Request) -> str | None:
        """Log a rejected request; return its request ID. What did not arrive is a dash."""
        header = request.headers.get
        request_id = parse_request_id(header(REQUEST_ID.lower()))
        if self._access_log:
            path = request.target.partition(b"?")[0].decode("latin-1")
            request_id = request_id or new_request_id()
            started_at = request.started_at or perf_counter()
            trace = header("traceparent")
            # A target that is no path may contain a password.
            path = path if path.startswith("/") else "-"
            method = request.method or "-"
            log_request(method, path, rejection.status, started_at, request_id, trace)
        return request_id

    def _call_flask(self, request: Request) -> None:
        def respond(result: WSGIResponse) -> None:
            result.send(request)

        if self._broadcaster is None:
            rejection = self._flask.call(request, respond)
        elif request.method != "GET" or request.target.partition(b"?")[0] != b"/live":
            rejection = self._flask.call(request, respond, {SLOT_KEY: None})
        else:
            rejection = self._open_stream(self._broadcaster, request)
        if rejection is not None:
            response = self.render_rejection(rejection, request)
            request.connection.respond(request, response)

    def _open_stream(self, broadcaster: EventBroadcaster, request: Request) -> Rejection | None:
        """Let Flask check a request for live events, then send them."""
        slot = broadcaster.reserve()

        def respond(result: WSGIResponse) -> None:
            if result.status == HTTPStatus.OK:
                broadcaster.open(request, result.headers, slot)
                return
            broadcaster.release(slot)
            result.send(request)

        rejection = self._flask.call(request, respond, {SLOT_KEY: slot})
        if rejection is not None:
            broadcaster.release(slot)
        return rejection
