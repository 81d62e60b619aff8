"""Which form a client gets for its Accept header."""

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
def test_a_form_for_each_client(accept, form):
    """Browsers get pages, programs JSON, those who ask for it text."""
    assert media_type(accept) == form
    assert wants_page(accept) is (form == HTML)


@pytest.mark.parametrize(
    ("accept", "form"),
    [("image/svg+xml", SVG), ("image/*", SVG), ("image/avif,image/svg+xml,image/*,*/*;q=0.8", SVG),
     ("", JSON), ("*/*", JSON), (FIREFOX, HTML), (CHROME, HTML), ("text/html,image/svg+xml", HTML)],
)  # fmt: skip
def test_a_further_form(accept, form):
    """Who wants nothing else, or that the most, gets it."""
    assert media_type(accept, SVG) == form


@pytest.mark.parametrize("accept", ["image/png", "application/json;q=0", "text/csv, image/*"])
def test_nothing_acceptable(accept):
    """A client that rules out every form gets none."""
    with pytest.raises(NotAcceptable):
        media_type(accept)
    assert wants_page(accept) is False


@pytest.mark.parametrize("accept", [";;", "json", "text/", "/", "text/html text/plain", "a/b;q"])
def test_a_malformed_header(accept):
    """What is no Accept header is a bad request that names it."""
    with pytest.raises(BadRequest) as caught:
        media_type(accept)
    assert "Accept" in caught.value.description


@given(st.text(max_size=60) | st.text('aA/*;,q=01. "\\\t', max_size=40))
def test_any_text_is_a_form_or_a_4xx(accept):
    """No header makes it fail otherwise."""
    try:
        form = media_type(accept)
    except (BadRequest, NotAcceptable):
        return
    assert form in (JSON, HTML, TEXT)


def test_long_headers_take_no_time():
    """A long header is refused without being parsed."""
    with pytest.raises(BadRequest):
        media_type("a/b;" + "a=b;" * 10000)


QUALITIES = st.integers(0, 10).map(lambda tenths: tenths / 10)
RANGES = st.sampled_from([JSON, HTML, TEXT, "text/*", "application/*", "*/*", "*", "image/png"])
ACCEPTS = st.dictionaries(RANGES, QUALITIES, min_size=1).filter(
    lambda accept: not {"*", "*/*"} <= accept.keys()
)


def quality(form, accept):
    """Return the quality of a form: that of the range that says most about it (RFC 9110)."""
    for range_ in (form, form.partition("/")[0] + "/*", "*/*", "*"):
        if range_ in accept:
            return accept[range_]
    return 0


@given(ACCEPTS, st.sampled_from([",", ", ", " ,\t"]), st.sampled_from(["", ";a=b", '; a="b,c"']))
def test_the_best_form_wins(accept, comma, parameter):
    """Whatever the order of the ranges, and whatever parameters they have."""
    header = comma.join(f"{range_}{parameter};q={q}" for range_, q in accept.items())
    best = max(quality(form, accept) for form in (JSON, HTML, TEXT))
    if best == 0:
        with pytest.raises(NotAcceptable):
            media_type(header)
    else:
        assert quality(media_type(header), accept) == best
