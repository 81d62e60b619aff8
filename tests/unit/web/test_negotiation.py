"""Content negotiation: the media type for each Accept header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import BadRequest, NotAcceptable

from flask_redis_counter.web.negotiation import HTML, JSON, SVG, TEXT, media_type, wants_page

FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
CHROME = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,"
    "*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
)
JAVA = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("*/*;q=0.1", JSON),
        ("*;q=0.1", JSON),
        ("application/json; charset=utf-8", JSON),
        ("application/json", JSON),
        ("application/*", JSON),
        ("text/plain", TEXT),
        ("text/plain, application/json;q=0.5", TEXT),
        ("text/html", HTML),
        (FIREFOX, HTML),
        (CHROME, HTML),
        (JAVA, HTML),
        ("image/avif,image/webp,*/*", JSON),
        ('application/json;profile="a,b"', JSON),
        (" , application/json", JSON),
    ],
)
def test_media_type_of_clients(accept, form):
    """Browsers get HTML, programs JSON, and text/plain is available on request."""
    assert media_type(accept) == form
    assert wants_page(accept) is (form == HTML)


@pytest.mark.parametrize(
    ("accept", "form"),
    [("image/svg+xml", SVG), ("image/*", SVG), ("image/avif,image/svg+xml,image/*,*/*;q=0.8", SVG),
     ("", JSON), ("*/*", JSON), (FIREFOX, HTML), (CHROME, HTML), ("text/html,image/svg+xml", HTML)],
)  # fmt: skip
def test_media_type_extra(accept, form):
    """An extra media type is returned if the client prefers it or accepts nothing else."""
    assert media_type(accept, SVG) == form


@pytest.mark.parametrize("accept", ["image/png", "application/json;q=0", "text/csv, image/*"])
def test_media_type_not_acceptable(accept):
    """media_type raises NotAcceptable if the header excludes every media type."""
    with pytest.raises(NotAcceptable):
        media_type(accept)
    assert wants_page(accept) is False


@pytest.mark.parametrize("accept", [";;", "json", "text/", "/", "text/html text/plain", "a/b;q"])
def test_media_type_malformed(accept):
    """media_type raises BadRequest with the header's name if the header is malformed."""
    with pytest.raises(BadRequest) as caught:
        media_type(accept)
    assert "Accept" in caught.value.description


@given(st.text(max_size=60) | st.text('aA/*;,q=01. "\\\t', max_size=40))
def test_media_type_any_text(accept):
    """media_type returns a media type or raises a 4xx for any text."""
    try:
        form = media_type(accept)
    except (BadRequest, NotAcceptable):
        return
    assert form in (JSON, HTML, TEXT)


def test_media_type_long_header():
    """A long header is rejected without being parsed."""
    with pytest.raises(BadRequest):
        media_type("a/b;" + "a=b;" * 10000)


QUALITIES = st.integers(0, 10).map(lambda tenths: tenths / 10)
RANGES = st.sampled_from([JSON, HTML, TEXT, "text/*", "application/*", "*/*", "*", "image/png"])
ACCEPTS = st.dictionaries(RANGES, QUALITIES, min_size=1).filter(
    lambda accept: not {"*", "*/*"} <= accept.keys()
)


def quality(form, accept):
    """Return the quality of a media type: that of the most specific range (RFC 9110)."""
    for range_ in (form, form.partition("/")[0] + "/*", "*/*", "*"):
        if range_ in accept:
            return accept[range_]
    return 0


@given(ACCEPTS, st.sampled_from([",", ", ", " ,\t"]), st.sampled_from(["", ";a=b", '; a="b,c"']))
def test_media_type_best_quality(accept, comma, parameter):
    """The best quality wins, in any order of the ranges and with any parameters."""
    header = comma.join(f"{range_}{parameter};q={q}" for range_, q in accept.items())
    best = max(quality(form, accept) for form in (JSON, HTML, TEXT))
    if best == 0:
        with pytest.raises(NotAcceptable):
            media_type(header)
    else:
        assert quality(media_type(header), accept) == best
