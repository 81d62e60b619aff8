"""Bearer keys (RFC 6750) for changes and metrics; guesses are limited and logged."""

from __future__ import annotations

import logging
import math
import threading
from hmac import compare_digest
from time import monotonic

from flask import current_app, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import TooManyRequests, Unauthorized

from ..extension.state import current_state
from ..forking import ForkSafe

#: Wrong keys that a client may give in each window before it is refused, by each process.
MAX_WRONG_KEYS = 10

#: Seconds of a window; and the least time between two lines of the log.
WINDOW = 60.0

#: Clients that are remembered; the oldest is forgotten first.
MAX_CLIENTS = 1000

# Where an app keeps its guesses, in ``app.extensions``.
_KEY = "flask-redis-counter.guesses"

_log = logging.getLogger(__name__)


class WrongKeys(ForkSafe):
    """The wrong keys of the last minute, by client."""

    def __init__(self) -> None:
        super().__init__()
        self.enter()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._clients: dict[str, tuple[int, float]] = {}
        self._unlogged = 0
        self._log_after = -math.inf

    def wait(self, client: str) -> float:
        """Return the seconds for which a client is refused, 0 where it is not."""
        guesses, ends = self._clients.get(client, (0, 0.0))
        return max(0.0, ends - monotonic()) if guesses >= MAX_WRONG_KEYS else 0.0

    def add(self, client: str, setting: str) -> None:
        """Note a wrong key, and log it: one line a minute, without the key and the address."""
        self.enter()
        now = monotonic()
        with self._lock:
            guesses, ends = self._clients.pop(client, (0, 0.0))
            if now >= ends:
                guesses, ends = 0, now + WINDOW
            if len(self._clients) >= MAX_CLIENTS:
                del self._clients[next(iter(self._clients))]
            self._clients[client] = (guesses + 1, ends)
            self._unlogged += 1
            if now < self._log_after:
                return
            number, self._unlogged, self._log_after = self._unlogged, 0, now + WINDOW
        _log.warning("wrong keys in place of %s: %d since the last such line", setting, number)


def require_key(key: str, setting: str, realm: str) -> None:
    """Let a request pass that gives a key as ``Authorization: Bearer``.

    :param setting: the key's setting, for the log.
    :raises Unauthorized: it gives none, or a wrong one.
    :raises TooManyRequests: its client has given too many wrong ones; the key is not looked at.
    """
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        guesses: WrongKeys = current_app.extensions.setdefault(_KEY, WrongKeys())
        client = current_state().visit_filter.identify_client(
            request.remote_addr or "", request.headers.get
        )
        if seconds := guesses.wait(client):
            raise TooManyRequests("Too many wrong keys.", retry_after=math.ceil(seconds))
        if compare_digest(given.strip().encode(), key.encode()):
            return
        guesses.add(client, setting)
    raise Unauthorized(
        f"This takes the key in {setting}: Authorization: Bearer …",
        www_authenticate=WWWAuthenticate("bearer", {"realm": realm}),
    )
