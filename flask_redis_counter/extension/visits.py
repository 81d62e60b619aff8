"""The visit of one request: its skip reason, visitor, client and hit."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flask import Request

from ..counter import RedisCounter
from ..counting.hit import Hit
from ..limits import Limits

if TYPE_CHECKING:
    from .state import ExtensionState

#: Skip reason of a hit whose visitor was already counted within ``COUNTER_VISITOR_WINDOW``.
DUPLICATE_VISIT = "reload"

#: Skip reason of a HEAD or OPTIONS request.
METHOD = "method"


class HitRequest(NamedTuple):
    """The result of the visit filter for one request.

    A named tuple and not a dataclass, for speed: the fast path creates one per hit.

    :ivar skip_reason: why the request is not a visit: ``method`` (HEAD and OPTIONS), ``prefetch``
        or ``bot``; None if it is one.
    :ivar visitor: client address and user agent, for unique visitors and
        ``COUNTER_VISITOR_WINDOW``; None if the visitor is not to be counted as such.
    :ivar client: client address for ``COUNTER_RATE_LIMIT``; None without a rate limit.
    """

    skip_reason: str | None
    visitor: str | None = None
    client: str | None = None

    @classmethod
    def parse(cls, request: Request, state: ExtensionState) -> HitRequest:
        """Apply the app's visit filter to a request."""
        if request.method in ("HEAD", "OPTIONS"):
            return cls(METHOD)
        headers = request.headers.get
        reason = state.visit_filter.skip_reason(headers)
        if reason is not None:
            return cls(reason)
        return state.visit_filter.identify(request.remote_addr or "", headers)

    def hit(
        self,
        counter: RedisCounter,
        name: str,
        amount: int = 1,
        *,
        idempotency_key: str | None,
        limits: Limits,
        ask: bool = True,
    ) -> tuple[Hit, str | None]:
        """Count a visit; for any other request read the value.

        Raises the errors of :meth:`RedisCounter.hit`.

        :returns: the hit, and its skip reason (None if it counted).
        """
        if self.skip_reason is not None:
            return Hit(name, counter.value(name), counted=False), self.skip_reason
        hit = counter.hit(
            name,
            amount,
            idempotency_key=idempotency_key,
            visitor=self.visitor,
            client=self.client,
            limits=limits,
            ask=ask,
        )
        return hit, None if hit.counted else DUPLICATE_VISIT
