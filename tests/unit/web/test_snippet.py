"""The snippet page, without a store."""

import html
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_redis_counter import create_app
from flask_redis_counter.web.routes.snippet import make_snippets

APP = create_app({})
# Many of these characters are markup in HTML or Markdown, or reserved in a URL.
LABELS = st.text(st.sampled_from("aé\"'<>&()[]!\\`*_|~#?+% "), max_size=64)


class Elements(HTMLParser):
    """The elements of a document, with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Collect an element."""
        self.found.append((tag, dict(attrs)))


def page(query):
    """Return the elements of the page, and its snippets."""
    response = APP.test_client().get("/snippet", query_string=query)
    assert response.status_code == 200
    assert response.mimetype == "text/html"
    copied = re.findall(r'<pre class="line"[^>]*>(.*?)</pre>', response.text, re.DOTALL)
    return Elements(response.text).found, [html.unescape(line) for line in copied]


def test_snippets():
    """The snippets have the service's address and the requested style."""
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


def test_snippets_of_an_empty_form():
    """Empty fields are left out of the snippets; the app's counter is the default."""
    _, copied = page({"name": "", "label": " ", "color": "", "format": ""})
    assert copied[0] == "![visits](http://localhost/counters/visits.svg)"


def test_page_has_nothing_inline():
    """The page has no inline scripts, styles and handlers, which a security policy may forbid."""
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
def test_page_shows_allowed_sites(origins, words):
    """The page shows which sites COUNTER_CORS_ORIGINS allows."""
    app = create_app({"COUNTER_CORS_ORIGINS": origins})
    text = re.sub(r"<[^>]+>", "", app.test_client().get("/snippet").text)
    assert words in " ".join(text.split())


@pytest.mark.parametrize(
    ("name", "warns"),
    [("pageviews", True), ("Hit-Counter", True), ("hit_counter", True), ("visits", False),
     ("counter", False), ("front-page", False), ("hits", False)],
)  # fmt: skip
def test_page_warns_of_blocked_names(name, warns):
    """The page warns of a name whose requests a common filter list blocks."""
    text = APP.test_client().get(f"/snippet?name={name}").text
    assert ("Choose another name." in text) == warns


@pytest.mark.parametrize("query", ["name=a%20b", "name=a.svg", f"name={'x' * 65}"])
def test_page_rejects_invalid_names(query):
    """An invalid name is a 400: its snippets would count nothing."""
    assert APP.test_client().get(f"/snippet?{query}").status_code == 400


@pytest.mark.parametrize("query", ["label=%00", "color=nope", "x=1", "utm_source=x", "format=big"])
def test_page_ignores_invalid_style(query):
    """Parameters that a badge ignores are ignored, and left out of the snippets."""
    _, copied = page(query)
    assert copied[0] == "![visits](http://localhost/counters/visits.svg)"


@given(LABELS)
def test_snippets_are_escaped(label):
    """Any label becomes the alternative text of the image, without markup."""
    with APP.test_request_context():
        snippets = make_snippets("visits", label, "")
    assert Elements(snippets["image"]).found == [
        ("img", {"src": "http://localhost/hit/visits.svg", "alt": label, "height": "20"})
    ]
    words, _, address = snippets["markdown"].rpartition("](")
    assert address == "http://localhost/counters/visits.svg)"
    # Without the escaped characters there is no markup left.
    assert not set(re.sub(r"\\[!-/:-@\[-`{-~]", "", words.removeprefix("!["))) & set("\\`*_[]<>&|~")
