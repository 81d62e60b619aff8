"""The service under a root path: each link keeps the prefix that a proxy has removed."""

import re

import pytest

from .support import BROWSER, nowhere

ADMIN_KEY = "correct-horse-battery-staple"
PAGES = ["/", "/count", "/stats", "/snippet", "/counters/visits", "/nowhere", "/counters/%20"]


@pytest.fixture(params=["header", "setting", "both"])
def published(request, server, client, client_of):
    """A client of the service behind a proxy that publishes it under /tools/counter."""
    settings = {"REDIS_URL": server.url, "COUNTER_TIMEOUT": 10, "COUNTER_ADMIN_KEY": ADMIN_KEY}
    headers = {}
    if request.param != "header":
        path = "/tools/counter/" if request.param == "setting" else "/old"
        settings["COUNTER_ROOT_PATH"] = path
    if request.param != "setting":
        settings["COUNTER_TRUSTED_PROXIES"] = "127.0.0.1"
        headers["X-Forwarded-Prefix"] = "/evil, /tools/counter"
    web = client_of(**settings)

    def ask(path, method="GET", **more):
        return web.open(path, method=method, headers=headers | more.pop("headers", {}), **more)

    return ask


def links(page):
    """Return all URLs of a page on its own host, without the host."""
    found = re.findall(r'(?:href|src|action|data-from)="([^"]*)"', page)
    local = [link.removeprefix("http://localhost") for link in found]
    return [link for link in local if link.startswith("/")]


@pytest.mark.parametrize("path", PAGES)
def test_page_links(published, path):
    """Each link, image, script, style and form of each page begins with the root path."""
    page = published(path, headers=BROWSER)
    assert page.mimetype == "text/html"
    assert len(links(page.text)) > 5
    assert [link for link in links(page.text) if not link.startswith("/tools/counter/")] == []
    assert not re.search(r"localhost/(?!tools/counter/)", page.text)


def test_snippet_links(published):
    """The snippets and the address for curl have the root path."""
    page = published("/snippet?name=shop").text
    for address in ("/counters/shop.svg", "/hit/shop.svg", "/static/counter.js"):
        assert f"http://localhost/tools/counter{address}" in page
    assert "http%3A%2F%2Flocalhost%2Ftools%2Fcounter%2Fcounters%2Fshop%2Fshields.json" in page
    assert "curl http://localhost/tools/counter/count" in published("/").text


def test_api_links(published, client):
    """`next`, `Location` and the server of the OpenAPI document have the root path; hits count."""
    for name in ("a", "b"):
        answer = published(f"/counters/{name}/hits", method="POST")
        assert answer.json == {"name": name, "value": 1, "counted": True}
    assert published("/counters?limit=1").json["next"].startswith("/tools/counter/counters?")
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    made = published("/counters/made", method="PUT", json={"value": 7}, headers=headers)
    assert made.headers["Location"] == "/tools/counter/counters/made"
    assert published("/openapi.json").json["servers"] == [{"url": "/tools/counter"}]
    assert client.get("counter:{a}") == b"1"


def test_retry_link(client_of):
    """During an outage the link to try again leads to the same page."""
    web = client_of(REDIS_URL=nowhere(), COUNTER_ROOT_PATH="/tools/counter")
    page = web.get("/count?from=here", headers=BROWSER)
    assert page.status_code == 503
    assert '<a class="button" href="" rel="nofollow">Try again' in page.text


@pytest.mark.parametrize(
    "prefix",
    ["//evil.example", "/a//evil.example", "https://evil.example", "evil", "/..", "/a/../b", "/a/.",
     "/a b", "/a%2f%2fevil", "/a?b", "/a#b", "/\\evil", '/"><script>', "/é", "/", "", ",",
     "/" + "x" * 255],
)  # fmt: skip
def test_invalid_prefix(client_of, prefix):
    """A prefix that is not a plain path, or could lead to another host, is ignored."""
    web = client_of(REDIS_URL=nowhere(), COUNTER_TRUSTED_PROXIES="127.0.0.1")
    page = web.get("/snippet", headers={"X-Forwarded-Prefix": prefix.encode().decode("latin-1")})
    assert "(http://localhost/counters/visits.svg)" in page.text
    assert "/static/style.css" in links(page.text)


def test_untrusted_prefix(client_of):
    """The prefix from a client that is not a trusted proxy is ignored."""
    for settings in ({}, {"COUNTER_TRUSTED_PROXIES": "10.0.0.1"}):
        web = client_of(REDIS_URL=nowhere(), **settings)
        page = web.get("/snippet", headers={"X-Forwarded-Prefix": "/tools"})
        assert "/static/style.css" in links(page.text)
