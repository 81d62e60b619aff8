"""The outcome of a hit: one vocabulary for errors, metrics, HTTP and the scripts' replies."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """The outcome of a hit. Each member is also a string: ``Outcome.UNKNOWN == "unknown"``.

    :cvar COUNTED: the hit was counted.
    :cvar REPLAYED: an earlier hit with the same idempotency key was counted; this one was not
        counted again.
    :cvar SKIPPED: not counted: the same visitor was counted within ``visitor_window``.
    :cvar NOT_COUNTED: not counted: an error occurred before the store counted the hit.
    :cvar UNKNOWN: the hit was sent, but not answered: the store may have counted it.
    :cvar SPOOLED: not counted yet: the hit waits in the spool until the store accepts it.
    """

    COUNTED = "counted"
    REPLAYED = "replayed"
    SKIPPED = "skipped"
    NOT_COUNTED = "not_counted"
    UNKNOWN = "unknown"
    SPOOLED = "spooled"


#: Digits in the replies of the scripts (``count.lua``, ``hit_once.lua``), and their outcomes.
#: ``3`` is a hit over the rate limit of its client.
REPLY_DIGITS = {
    "0": Outcome.COUNTED,
    "1": Outcome.REPLAYED,
    "2": Outcome.SKIPPED,
    "3": Outcome.NOT_COUNTED,
}
