"""Bearer keys (RFC 6750) for changes and metrics; wrong keys are limited and logged."""

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

#: Wrong keys that a client may send in each window, per process. More are rejected with 429.
MAX_WRONG_KEYS = 10

#: Length of a window in seconds, and minimum seconds between two log lines.
WINDOW = 60.0

#: Maximum clients that are tracked. The oldest is dropped first.
MAX_CLIENTS = 1000

# Key of an app's WrongKeyLimiter in ``app.extensions``.
_EXTENSION = "redis_counter_wrong_keys"

_log = logging.getLogger(__name__)


class WrongKeyLimiter(ForkSafe):
    """Counts wrong keys per client, and logs them."""

    def __init__(self) -> None:
        super().__init__()
        self.enter()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._clients: dict[str, tuple[int, float]] = {}
        self._unlogged = 0
        self._log_after = -math.inf

    def retry_after(self, client: str) -> float:
        """Return the seconds for which a client is blocked, 0 if it is not."""
        attempts, ends_at = self._clients.get(client, (0, 0.0))
        return max(0.0, ends_at - monotonic()) if attempts >= MAX_WRONG_KEYS else 0.0

    def record(self, client: str, setting: str) -> None:
        """Count and log a wrong key: one line per window, without the key and the address."""
        self.enter()
        now = monotonic()
        with self._lock:
            attempts, ends_at = self._clients.pop(client, (0, 0.0))
            if now >= ends_at:
                attempts, ends_at = 0, now + WINDOW
            if len(self._clients) >= MAX_CLIENTS:
                del self._clients[next(iter(self._clients))]
            self._clients[client] = (attempts + 1, ends_at)
            self._unlogged += 1
            if now < self._log_after:
                return
            number, self._unlogged, self._log_after = self._unlogged, 0, now + WINDOW
        _log.warning("wrong keys sent for %s: %d since the last such line", setting, number)


def require_key(key: str, setting: str, realm: str) -> None:
    """Require a key in the header ``Authorization: Bearer``.

    :param setting: the setting that holds the key, for the log.
    :param realm: the realm of ``WWW-Authenticate``.
    :raises Unauthorized: the key is missing or wrong.
    :raises TooManyRequests: the client has sent too many wrong keys; this one is not checked.
    """
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        limiter: WrongKeyLimiter = current_app.extensions.setdefault(_EXTENSION, WrongKeyLimiter())
        client = current_state().visit_filter.identify_client(
            request.remote_addr or "", request.headers.get
        )
        if seconds := limiter.retry_after(client):
            raise TooManyRequests(
                "Too many wrong keys from this client: try again later.",
                retry_after=math.ceil(seconds),
            )
        if compare_digest(given.strip().encode(), key.encode()):
            return
        limiter.record(client, setting)
    raise Unauthorized(
        f"Send the key of {setting}: Authorization: Bearer …",
        www_authenticate=WWWAuthenticate("bearer", {"realm": realm}),
    )
