"""Measures this service with requests that are not all alike."""

from __future__ import annotations

from dataclasses import dataclass

import redis

from .load import Load, Request
from .load_check import checked_load
from .race import CONNECTIONS
from .server import Server

_PATH = "/counters/bench/hits"

#: Redis key of the counter in the path.
_KEY = "counter:{bench}"


@dataclass(frozen=True, slots=True)
class Variant:
    """A kind of request.

    :ivar name: its name in the report.
    :ivar request: the request; None for the identical requests of the race.
    """

    name: str
    request: Request | None


#: wrk builds each request of the others, which takes time on the machine of the service: the second
#: one is what the last two are to be compared with.
VARIANTS = (
    Variant("GET /count, identical requests", None),
    Variant("POST to a named counter", Request(_PATH)),
    Variant("the same, each with its own X-Request-ID", Request(_PATH, unique=("X-Request-ID",))),
    Variant(
        "the same, each with its own Idempotency-Key as well",
        Request(_PATH, unique=("X-Request-ID", "Idempotency-Key")),
    ),
)


def run_variants(
    server: Server, store: redis.Redis, *, rounds: int, seconds: int
) -> dict[str, list[Load]]:
    """Measure this service with each kind of request; return one load per round by name.

    :raises MiscountError: the service returned errors, or lost or duplicated hits.
    """
    loads: dict[str, list[Load]] = {variant.name: [] for variant in VARIANTS}
    for turn in range(rounds):
        for place in range(len(VARIANTS)):
            variant = VARIANTS[(turn + place) % len(VARIANTS)]
            load = checked_load(
                server,
                store,
                seconds=seconds,
                connections=CONNECTIONS,
                request=variant.request,
                key=_KEY if variant.request else None,
            )
            loads[variant.name].append(load)
            print(f"round {turn + 1}: {variant.name}: {load.rate:,.0f}/s", flush=True)
    return loads
