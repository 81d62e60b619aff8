"""Layout of a badge: two texts side by side, flat and rounded. Independent of Flask."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias
from unicodedata import combining, east_asian_width, normalize

from .si_prefix import si_prefix

#: Named colours. White text is legible on all but ``brightgreen`` and ``lightgrey``.
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

#: Number formats: 1234, 1,234 or 1.2k.
NumberFormat: TypeAlias = Literal["plain", "comma", "short"]

#: Minimum contrast of text of ordinary size (WCAG 2.2, success criterion 1.4.3, level AA).
CONTRAST = 4.5

#: Pixels on each side of a text.
PADDING = 5

#: Font size in pixels.
SIZE = 11

# Advance widths of the characters from " " to "~" in Verdana, in thousandths of the font size:
# the font's hmtx table, as PDF::Builder lists it for Perl.
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
# Of characters outside the table: full-width ones, and all others.
_WIDE, _OTHER = 1000, 750


@dataclass(frozen=True, slots=True)
class Side:
    """One text on its background.

    :ivar color: background colour, as ``#rrggbb``.
    """

    text: str
    color: str

    @property
    def text_color(self) -> str:
        """White, or black if white has too little contrast."""
        return "#ffffff" if contrast(self.color, "#ffffff") >= CONTRAST else "#000000"

    @property
    def text_width(self) -> float:
        """Width of the text in pixels."""
        return text_width(self.text)

    @property
    def width(self) -> int:
        """Width of the background: whole pixels, for sharp edges."""
        return int(-(-self.text_width // 1)) + 2 * PADDING


@dataclass(frozen=True, slots=True)
class Badge:
    """A label and a message; an empty label is not drawn."""

    label: Side
    message: Side

    @property
    def sides(self) -> list[Side]:
        """The sides that are drawn."""
        return [self.label, self.message] if self.label.text else [self.message]

    @property
    def title(self) -> str:
        """Text for screen readers."""
        return ": ".join(side.text for side in self.sides)

    @property
    def width(self) -> int:
        """Width in pixels."""
        return sum(side.width for side in self.sides)


def text_width(text: str) -> float:
    """Return the width in pixels of a text in Verdana, 11 pixels high."""
    return round(sum(map(_advance, text)) * SIZE / 1000, 1)


def _advance(character: str) -> int:
    if combining(character):
        return 0
    # Accents do not change the width of a letter.
    base = normalize("NFD", character)[0]
    return _ADVANCES.get(base, _WIDE if east_asian_width(character) in "FW" else _OTHER)


def format_number(value: int, number_format: NumberFormat) -> str:
    """Return a number as text. The short format rounds towards zero, so it never overstates."""
    if number_format == "plain":
        return str(value)
    if number_format == "comma":
        return f"{value:,}"
    factor, prefix = si_prefix(abs(value))
    if not prefix:
        return str(value)
    whole, tenth = divmod(abs(value) * 10 // factor, 10)
    fraction = f".{tenth}" if tenth and whole < 100 else ""
    return f"{'-' if value < 0 else ''}{whole}{fraction}{prefix}"


def parse_color(text: str) -> str | None:
    """Return a colour as ``#rrggbb``, given its name or hexadecimal digits; None if invalid."""
    if (name := text.lower()) in COLORS:
        return COLORS[name]
    if digits := re.fullmatch(r"#?([0-9A-Fa-f]{6}|[0-9A-Fa-f]{3})", text):
        pairs = digits[1] if len(digits[1]) == 6 else "".join(2 * digit for digit in digits[1])
        return f"#{pairs.lower()}"
    return None


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21.

    Formula: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio
    """
    dark, light = sorted((_luminance(first), _luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    channels = (int(color[start : start + 2], 16) / 255 for start in (1, 3, 5))
    red, green, blue = (
        channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
        for channel in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
