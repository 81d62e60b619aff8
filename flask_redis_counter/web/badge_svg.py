"""A badge: two words side by side, flat and rounded, as they stand in a README. No Flask here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias
from unicodedata import combining, east_asian_width, normalize

#: The colours that have a name. White is legible on all but the bright and the light one.
COLORS = {
    "blue": "#0969da",
    "brightgreen": "#44cc11",
    "green": "#1a7f37",
    "grey": "#555555",
    "lightgrey": "#9f9f9f",
    "orange": "#bc4c00",
    "purple": "#8250df",
    "red": "#cf222e",
    "yellow": "#9a6700",
}

#: How a number may be written: 1234, 1,234 or 1.2k.
Format: TypeAlias = Literal["plain", "comma", "short"]

#: The contrast that text of an ordinary size needs (WCAG 2.2, success criterion 1.4.3, level AA).
CONTRAST = 4.5

#: Pixels beside each word.
PADDING = 5

SIZE = 11

# How far each of the characters from " " to "~" takes Verdana, in thousandths of its size: the
# advance widths in the font's hmtx table, as PDF::Builder lists them for Perl.
# https://metacpan.org/pod/PDF::Builder::Resource::Font::CoreFont::verdana
_ADVANCES = dict(
    zip(
        map(chr, range(32, 127)),
        (
            *(352, 394, 459, 818, 636, 1076, 727, 269, 454, 454, 636, 818, 364, 454, 364, 454),
            *(636, 636, 636, 636, 636, 636, 636, 636, 636, 636, 454, 454, 818, 818, 818, 545),
            *(1000, 684, 686, 698, 771, 632, 575, 775, 751, 421, 455, 693, 557, 843, 748, 787),
            *(603, 787, 695, 684, 616, 732, 684, 989, 685, 615, 685, 454, 454, 454, 818, 636),
            *(636, 601, 623, 521, 623, 596, 352, 623, 633, 274, 344, 592, 274, 973, 633, 607),
            *(623, 623, 427, 521, 394, 633, 592, 818, 592, 592, 525, 635, 454, 635, 818),
        ),
        strict=True,
    )
)
_WIDE, _OTHER = 1000, 750

_UNITS = ((10**18, "E"), (10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M"), (1000, "k"))


@dataclass(frozen=True, slots=True)
class Side:
    """One word on its ground.

    :ivar color: of the ground, as ``#rrggbb``.
    """

    text: str
    color: str

    @property
    def ink(self) -> str:
        """The colour of the text: white, or black where white would be hard to read."""
        return "#ffffff" if contrast(self.color, "#ffffff") >= CONTRAST else "#000000"

    @property
    def text_width(self) -> float:
        """How long the text is, in pixels."""
        return text_width(self.text)

    @property
    def width(self) -> int:
        """How wide the ground is: whole pixels, whose edges are sharp."""
        return int(-(-self.text_width // 1)) + 2 * PADDING


@dataclass(frozen=True, slots=True)
class Badge:
    """What there is to be drawn; without a label, it is the message alone."""

    label: Side
    message: Side

    @property
    def sides(self) -> list[Side]:
        """Label and message."""
        return [self.label, self.message] if self.label.text else [self.message]

    @property
    def title(self) -> str:
        """What it says to who does not see it."""
        return ": ".join(side.text for side in self.sides)

    @property
    def width(self) -> int:
        """How wide it is, in pixels."""
        return sum(side.width for side in self.sides)


def text_width(text: str) -> float:
    """Return how long a text is in Verdana of 11 pixels."""
    return round(sum(map(_advance, text)) * SIZE / 1000, 1)


def _advance(character: str) -> int:
    if combining(character):
        return 0
    # A letter is as wide without its accents.
    base = normalize("NFD", character)[0]
    return _ADVANCES.get(base, _WIDE if east_asian_width(character) in "FW" else _OTHER)


def format_number(value: int, form: Format) -> str:
    """Return a number as text; what is short is rounded towards zero, and never says too much."""
    if form == "plain":
        return str(value)
    if form == "comma":
        return f"{value:,}"
    sign = "-" if value < 0 else ""
    for unit, letter in _UNITS:
        if abs(value) >= unit:
            whole, tenth = divmod(abs(value) * 10 // unit, 10)
            fraction = f".{tenth}" if tenth and whole < 100 else ""
            return f"{sign}{whole}{fraction}{letter}"
    return str(value)


def parse_color(text: str) -> str | None:
    """Return a colour as ``#rrggbb``, given its name or its hexadecimal digits, or None."""
    if (name := text.lower()) in COLORS:
        return COLORS[name]
    if digits := re.fullmatch(r"#?([0-9A-Fa-f]{6}|[0-9A-Fa-f]{3})", text):
        pairs = digits[1] if len(digits[1]) == 6 else "".join(2 * digit for digit in digits[1])
        return f"#{pairs.lower()}"
    return None


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, 1 to 21.

    Formula: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio
    """
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    parts = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
