"""Requests that ask for a hit: whether one is a visit, whose it is, and its counting."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Request

from ..counter import RedisCounter
from ..counting.hit import Hit
from ..limits import Limits
from .state import ExtensionState

#: Why a hit did not count whose visitor had, a moment before.
DUPLICATE_VISIT = "reload"

#: Why a HEAD or OPTIONS request is not a visit.
METHOD = "method"


@dataclass(frozen=True, slots=True)
class HitRequest:
    """What a request says about the hit that it asks for.

    :ivar skip_reason: why it is not a visit: ``method`` (HEAD and OPTIONS), ``prefetch`` or
        ``bot``; None: it is one.
    :ivar visitor: what tells its visitor from others, for visitors and reloads.
    :ivar client: what tells its client from others, for a rate.
    """

    skip_reason: str | None
    visitor: str | None
    client: str | None

    @classmethod
    def of(cls, request: Request, state: ExtensionState) -> HitRequest:
        """Return what a request says, under an app's settings."""
        headers = request.headers.get
        if request.method in ("HEAD", "OPTIONS"):
            return cls(METHOD, None, None)
        if (reason := state.screen.objection(headers)) is not None:
            return cls(reason, None, None)
        return cls(None, *state.screen.sender(request.remote_addr or "", headers))

    def count(
        self,
        counter: RedisCounter,
        name: str,
        amount: int,
        *,
        idempotency_key: str | None,
        limits: Limits,
        ask: bool = True,
    ) -> tuple[Hit, str | None]:
        """Count where it is a visit, else read; raises what :meth:`RedisCounter.hit` does.

        :returns: the hit, and why it did not count if it did not.
        """
        if self.skip_reason is not None:
            return Hit(name, counter.value(name), counted=False), self.skip_reason
        whose = {"visitor": self.visitor, "client": self.client}
        hit = counter.hit(
            name, amount, idempotency_key=idempotency_key, **whose, limits=limits, ask=ask
        )
        return hit, None if hit.counted else DUPLICATE_VISIT
