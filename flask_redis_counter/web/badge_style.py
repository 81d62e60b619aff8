"""Style of a badge, from the query: label, colours and number format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from werkzeug.datastructures import MultiDict

from .badge_svg import COLORS, Badge, NumberFormat, Side, format_number, parse_color

#: The maximum number of characters of a label.
MAX_LABEL = 64


@dataclass(frozen=True, slots=True)
class BadgeStyle:
    """Label, colours and number format of a badge.

    :ivar color: background of the value, as ``#rrggbb``.
    :ivar label_color: background of the label, as ``#rrggbb``.
    """

    label: str
    color: str
    label_color: str
    number_format: NumberFormat

    def value_badge(self, value: int) -> Badge:
        """Return the badge of a value."""
        return self._badge(Side(format_number(value, self.number_format), self.color))

    def placeholder(self, text: str) -> Badge:
        """Return the badge that shows a text in place of a value."""
        return self._badge(Side(text, COLORS["lightgrey"]))

    def _badge(self, message: Side) -> Badge:
        return Badge(Side(self.label, self.label_color), message)


def parse_style(query: MultiDict[str, str], name: str) -> BadgeStyle:
    """Return the style that a query asks for. A picture never fails because of its query.

    Unknown parameters are ignored, the first of repeated ones is used, and an invalid value is
    replaced by the default.

    :param name: the counter's name, the default of the label.
    """
    number_format: Any = query.get("format", "plain")
    return BadgeStyle(
        parse_label(query.get("label", name)),
        parse_color(query.get("color", "")) or COLORS["blue"],
        parse_color(query.get("label_color", "")) or COLORS["grey"],
        number_format if number_format in get_args(NumberFormat) else "plain",
    )


def parse_label(text: str) -> str:
    """Return a label without invisible characters, cut to :data:`MAX_LABEL` characters."""
    # SVG shows a run of whitespace as one space, so the width counts one.
    visible = "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
    return visible[:MAX_LABEL]
