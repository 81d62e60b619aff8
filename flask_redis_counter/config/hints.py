"""Hints about misspelt setting names and about service links in the environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from .service_links import REMEDY, is_service_link
from .settings import SETTINGS


class SettingHint(NamedTuple):
    """A hint about the environment or about an app's configuration.

    :ivar message: the finding, with names of settings, but no values.
    :ivar remedy: the action to take.
    """

    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.message}: {self.remedy}"


def find_hints(source: Mapping[str, Any]) -> Iterator[SettingHint]:
    """Yield a hint for each unknown ``COUNTER_…`` setting, and one for all service links."""
    links = []
    for name, value in source.items():
        if not (name in SETTINGS or name.startswith("COUNTER_")):
            continue
        if is_service_link(name, value):
            links.append(name)
        elif name not in SETTINGS:
            similar = get_close_matches(name, SETTINGS, 1)
            remedy = f"is it {similar[0]}?" if similar else "remove it"
            yield SettingHint(f"{name} is an unknown setting and has no effect", remedy)
    if links:
        shown = ", ".join(links[:3]) + (f" and {len(links) - 3} more" if links[3:] else "")
        message = (
            f"service links of Kubernetes or Docker are not settings, and are ignored ({shown})"
        )
        yield SettingHint(message, REMEDY)
