"""The result of one check of `doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """The result of one check.

    :ivar status: ``ok``; ``warning``: hits may be lost or rejected later; ``failure``: hits are
        lost or rejected now.
    :ivar subject: the subject of the check, in one or two words.
    :ivar message: the finding.
    :ivar remedy: the action to take; empty for ``ok``.
    """

    status: Literal["ok", "warning", "failure"]
    subject: str
    message: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the members of its JSON object."""
        return {
            "state": self.status,
            "subject": self.subject,
            "said": self.message,
            "remedy": self.remedy,
        }
