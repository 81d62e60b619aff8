"""Layout and style of badges, without a counter."""

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict

from flask_redis_counter import create_app
from flask_redis_counter.validation import MAX_VALUE, MIN_VALUE
from flask_redis_counter.web.badge_style import MAX_LABEL, BadgeStyle, parse_style
from flask_redis_counter.web.badge_svg import (
    COLORS,
    CONTRAST,
    Badge,
    Side,
    contrast,
    format_number,
    parse_color,
    text_width,
)

APP = create_app({})
SVG = "{http://www.w3.org/2000/svg}"
VALUES = st.integers(MIN_VALUE, MAX_VALUE)
COLOR = st.from_regex(r"#[0-9a-f]{6}", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=MAX_LABEL)


def render(badge):
    """Return the parsed SVG of a badge."""
    with APP.app_context():
        return ElementTree.fromstring(APP.jinja_env.get_template("badge.svg").render(badge=badge))  # noqa: S314, it is ours


@pytest.mark.parametrize(
    ("value", "plain", "comma", "short"),
    [
        (0, "0", "0", "0"),
        (999, "999", "999", "999"),
        (1000, "1000", "1,000", "1k"),
        (1234, "1234", "1,234", "1.2k"),
        (-1299, "-1299", "-1,299", "-1.2k"),
        (99_999, "99999", "99,999", "99.9k"),
        (999_999, "999999", "999,999", "999k"),
        (1_000_000, "1000000", "1,000,000", "1M"),
        (MAX_VALUE, "9223372036854775807", "9,223,372,036,854,775,807", "9.2E"),
        (MIN_VALUE, "-9223372036854775808", "-9,223,372,036,854,775,808", "-9.2E"),
    ],
)
def test_format_number_at_the_bounds(value, plain, comma, short):
    """format_number returns each format at its bounds."""
    assert [format_number(value, form) for form in ("plain", "comma", "short")] == [
        plain,
        comma,
        short,
    ]


@given(VALUES)
def test_format_number_never_overstates(value):
    """plain and comma are exact; short rounds towards zero, by less than a tenth of the number."""
    assert (
        int(format_number(value, "plain"))
        == int(format_number(value, "comma").replace(",", ""))
        == value
    )
    short = format_number(value, "short")
    sign, whole, tenth, unit = re.fullmatch(r"(-?)(\d{1,3})(?:\.(\d))?([kMGTPE]?)", short).groups()
    said = int(whole + (tenth or "0")) * 1000 ** " kMGTPE".index(unit or " ") // 10
    assert said <= abs(value) <= said * 1.1
    assert (sign == "-") == (value < 0)


def test_text_width():
    """text_width uses Verdana's widths; accents add nothing, unknown characters a default."""
    assert text_width("") == 0
    assert text_width("visits") == pytest.approx(
        (592 + 274 + 521 + 274 + 394 + 521) * 11 / 1000, abs=0.05
    )
    assert text_width("iiii") < text_width("nnnn") < text_width("WWWW")
    assert text_width("é") == text_width("e\N{COMBINING ACUTE ACCENT}") == text_width("e")
    assert text_width("訪問") == text_width("방문") == 22
    assert text_width("Ж") > 0


@given(TEXT, TEXT)
def test_text_width_is_additive(one, other):
    """The width of a text is the sum of its parts', up to rounding to a tenth of a pixel."""
    assert text_width(one + other) == pytest.approx(text_width(one) + text_width(other), abs=0.16)


@pytest.mark.parametrize(
    ("text", "color"),
    [("blue", COLORS["blue"]), ("abc", "#aabbcc"), ("#ABCDEF", "#abcdef"), ("0969da", "#0969da")],
)
def test_parse_color(text, color):
    """parse_color accepts names and hexadecimal digits."""
    assert parse_color(text) == color


@pytest.mark.parametrize(
    "text", ["", "ab", "abcd", "#", "##abc", "\u0661\u0661\u0661", "abc\n", "url(x)"]
)
def test_parse_color_invalid(text):
    """parse_color returns None for anything else, so that nothing else gets into the SVG."""
    assert parse_color(text) is None


def test_contrast():
    """contrast is 21 for black on white, and 1 for a colour on itself."""
    assert contrast("#000000", "#ffffff") == contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#777777") == 1
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@given(COLOR)
def test_text_color_has_enough_contrast(color):
    """The text colour has the minimum contrast of WCAG on every background."""
    side = Side("1", color)
    assert contrast(color, side.text_color) >= CONTRAST
    assert side.text_color == "#ffffff" or contrast(color, "#ffffff") < CONTRAST


def test_named_colors_keep_white_text():
    """Text is white on all named colours except brightgreen and lightgrey."""
    dark = {name for name, color in COLORS.items() if Side("", color).text_color == "#000000"}
    assert dark == {"brightgreen", "lightgrey"}


@given(TEXT, TEXT, COLOR)
def test_badge_svg(label, message, color):
    """The SVG is well-formed, and has the given texts side by side on wide enough backgrounds."""
    badge = Badge(Side(label, "#555555"), Side(message, color))
    picture = render(badge)
    assert picture.attrib["role"] == "img"
    title = picture.find(f"{SVG}title").text
    assert title == picture.attrib["aria-label"] == f"{label}: {message}"
    texts, grounds = picture.findall(f"{SVG}g/{SVG}text"), picture.findall(f"{SVG}g/{SVG}rect")
    assert [text.text for text in texts] == [label, message]
    at = 0
    for text, ground in zip(texts, grounds, strict=True):
        wide = float(ground.attrib["width"])
        assert float(ground.attrib["x"]) == at
        assert float(text.attrib["x"]) == at + wide / 2
        assert 2 * 5 <= wide - float(text.attrib["textLength"]) < 2 * 5 + 1
        at += wide
    assert at == float(picture.attrib["width"])


def test_badge_svg_has_no_inline_style():
    """The SVG has attributes only, because a page's policy may forbid inline styles and scripts."""
    names = {
        name for part in render(Badge(Side("a", "#000000"), Side("1", "#000000"))).iter()
        for name in (part.tag.removeprefix(SVG), *part.attrib)
    }  # fmt: skip
    assert not names & {"style", "script", "foreignObject"}
    assert not any(name.startswith("on") for name in names)


def test_badge_of_haproxy():
    """HAProxy's badge for "no replica answers" has the same layout as the service's badges."""
    unavailable = Badge(Side("", COLORS["grey"]), Side("unavailable", COLORS["lightgrey"]))
    picture = ElementTree.parse(Path(__file__).parents[3] / "deploy" / "unavailable.svg").getroot()  # noqa: S314, it is ours
    assert ElementTree.tostring(picture).strip() == ElementTree.tostring(render(unavailable))


def test_badge_without_a_label():
    """A badge without a label shows only the message."""
    picture = render(Badge(Side("", "#555555"), Side("12", "#000000")))
    assert [text.text for text in picture.iter(f"{SVG}text")] == ["12"]
    assert picture.attrib["aria-label"] == "12"


PLAIN = BadgeStyle("visits", "#0969da", "#555555", "plain")


@pytest.mark.parametrize(
    ("query", "style"),
    [
        ({"label": "x" * (MAX_LABEL + 1)}, replace(PLAIN, label="x" * MAX_LABEL)),
        ({"label": "a\0b"}, replace(PLAIN, label="ab")),
        ({"label": "a\u202eb\ufffe"}, replace(PLAIN, label="ab")),
        ({"label": ["a", "b"]}, replace(PLAIN, label="a")),
        ({"color": "BLUE"}, PLAIN),
        ({"color": "Red", "label_color": "#ABC"},
         replace(PLAIN, color="#cf222e", label_color="#aabbcc")),
        ({"color": "chartreuse"}, PLAIN),
        ({"color": ["red", "green"]}, replace(PLAIN, color="#cf222e")),
        ({"label_color": "12345"}, PLAIN),
        ({"format": "long"}, PLAIN),
        ({"format": ""}, PLAIN),
        ({"lable": "a", "v": "2", "amp;color": "red", "maxAge": "60", "logo": "redis"}, PLAIN),
    ],
)  # fmt: skip
def test_parse_style_invalid(query, style):
    """parse_style returns the default for an invalid value, and ignores unknown parameters."""
    assert parse_style(MultiDict(query), "visits") == style


def test_parse_style_label():
    """The default label is the counter's name; runs of whitespace count as one space."""
    assert parse_style(MultiDict(), "visits").label == "visits"
    assert parse_style(MultiDict({"label": " all  my\tvisits "}), "visits").label == "all my visits"
    assert parse_style(MultiDict({"label": ""}), "visits").label == ""
