"""What one look at the settings or the store has found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """What one look has found.

    :ivar state: ``ok``; ``warning``, hits may be lost or refused one day; ``failure``, they are.
    :ivar subject: what was looked at, in a word.
    :ivar said: what was seen.
    :ivar remedy: what to do about it; empty where all is well.
    """

    state: Literal["ok", "warning", "failure"]
    subject: str
    said: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return it as it goes into a document."""
        return asdict(self)
