"""The page that writes lines to copy, without a store."""

import html
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_redis_counter import create_app
from flask_redis_counter.web.routes.snippet import make_snippets

APP = create_app({})
# Much of what is drawn means something in HTML, in Markdown or in a URL.
LABELS = st.text(st.sampled_from("aé\"'<>&()[]!\\`*_|~#?+% "), max_size=64)


class Elements(HTMLParser):
    """The elements of a document, with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Note an element."""
        self.found.append((tag, dict(attrs)))


def page(query):
    """Return what the page says: the elements that it has, and the lines to copy."""
    response = APP.test_client().get("/snippet", query_string=query)
    assert response.status_code == 200
    assert response.mimetype == "text/html"
    copied = re.findall(r'<pre class="line"[^>]*>(.*?)</pre>', response.text, re.DOTALL)
    return Elements(response.text).found, [html.unescape(line) for line in copied]


def test_the_lines():
    """They have the service's own address, and what was asked for."""
    query = {"name": "front.page", "label": "my visits", "color": "red", "format": "short"}
    found, copied = page(query)
    options = "label=my+visits&color=red&format=short"
    read = f"http://localhost/counters/front.page.svg?{options}"
    assert copied == [
        f"![my visits]({read})",
        f'<img src="http://localhost/hit/front.page.svg?{options.replace("&", "&amp;")}" '
        'alt="my visits" height="20">',
        '<script async src="http://localhost/static/counter.js" '
        'data-counter="front.page"></script>',
        '<p data-count-line hidden>Seen <span data-count-of="front.page"></span> times.</p>',
        "https://img.shields.io/endpoint?url=http%3A%2F%2Flocalhost%2Fcounters%2Ffront.page"
        "%2Fshields.json%3Flabel%3Dmy%2Bvisits%26color%3Dred%26format%3Dshort",
    ]
    [shown] = [its["src"] for tag, its in found if tag == "img" and "/counters/" in its["src"]]
    assert shown == f"/counters/front.page.svg?{options}"


def test_a_form_that_is_sent_empty():
    """It leaves fields blank, which then are not in the lines; the app's counter is the default."""
    _, copied = page({"name": "", "label": " ", "color": "", "format": ""})
    assert copied[0] == "![visits](http://localhost/counters/visits.svg)"


def test_nothing_is_inline():
    """A security policy may forbid inline scripts, styles and handlers in the page; it has none."""
    found, _ = page({"label": "<script>alert(1)</script>"})
    assert [its.get("src") for tag, its in found if tag == "script"] == ["/static/copy.js"]
    assert not [tag for tag, _ in found if tag == "style"]
    assert not [name for _, its in found for name in its if name == "style" or name[:2] == "on"]


@pytest.mark.parametrize(
    ("origins", "words"),
    [
        (None, "This service allows no site yet"),
        ("*", "This service allows every site"),
        (
            "https://a.example, https://b.example",
            "This service allows https://a.example, https://b",
        ),
    ],
)
def test_the_page_says_which_sites_may_use_the_script(origins, words):
    """The page says what COUNTER_CORS_ORIGINS allows, before a line is copied in vain."""
    app = create_app({"COUNTER_CORS_ORIGINS": origins})
    text = re.sub(r"<[^>]+>", "", app.test_client().get("/snippet").text)
    assert words in " ".join(text.split())


@pytest.mark.parametrize(
    ("name", "warns"),
    [("pageviews", True), ("Hit-Counter", True), ("hit_counter", True), ("visits", False),
     ("counter", False), ("front-page", False), ("hits", False)],
)  # fmt: skip
def test_a_name_that_filters_block(name, warns):
    """The page warns of a name whose requests a common filter list blocks."""
    text = APP.test_client().get(f"/snippet?name={name}").text
    assert ("Choose another name." in text) == warns


@pytest.mark.parametrize("query", ["name=a%20b", "name=a.svg", f"name={'x' * 65}"])
def test_a_name_that_no_line_is_for(query):
    """A name outside the rules is a 400: a line with it would count nothing."""
    assert APP.test_client().get(f"/snippet?{query}").status_code == 400


@pytest.mark.parametrize("query", ["label=%00", "color=nope", "x=1", "utm_source=x", "format=big"])
def test_what_the_badge_would_ignore(query):
    """It is ignored here as well, and not in the lines."""
    _, copied = page(query)
    assert copied[0] == "![visits](http://localhost/counters/visits.svg)"


@given(LABELS)
def test_each_line_is_escaped(label):
    """Whatever the words are: an image has them for its alternative, and nothing else comes out."""
    with APP.test_request_context():
        snippets = make_snippets("visits", label, "")
    assert Elements(snippets["image"]).found == [
        ("img", {"src": "http://localhost/hit/visits.svg", "alt": label, "height": "20"})
    ]
    words, _, address = snippets["markdown"].rpartition("](")
    assert address == "http://localhost/counters/visits.svg)"
    # What is left when each escaped character is gone has no markup.
    assert not set(re.sub(r"\\[!-/:-@\[-`{-~]", "", words.removeprefix("!["))) & set("\\`*_[]<>&|~")
