"""The statistics page and its charts, on real stores."""

import re
import sys
from xml.etree import ElementTree

import pytest

from flask_redis_counter import RedisCounter, create_app
from flask_redis_counter.web import charts, ranking
from flask_redis_counter.web.routes import stats

from .openapi_client import DescribedFlaskClient
from .support import KEY, MAX, nowhere

BROWSER = {"Accept": "text/html,*/*;q=0.8"}


@pytest.fixture
def web(server, client):
    """A client of the service, on an empty store."""
    app = create_app({"REDIS_URL": server.url, "COUNTER_TIMEOUT": 10})
    app.test_client_class = DescribedFlaskClient
    return app.test_client()


@pytest.fixture
def counter(server, client):
    """The counters of that store."""
    with RedisCounter(server.url, timeout=10) as counter:
        yield counter


@pytest.fixture
def without_pygal(monkeypatch):
    """Simulate that pygal is not installed."""
    monkeypatch.setattr(stats, "charts_available", lambda: False)


def shown(page):
    """Return the names and values on a page."""
    found = re.findall(r'data-live="(.*?)" value="(.*?)"', page)
    return [(name, int(value)) for name, value in found]


def bars(svg):
    """Return the number of bars of a chart."""
    root = ElementTree.fromstring(svg)  # noqa: S314  # it is our own
    return len(root.findall(".//{*}g[@class='bar']/{*}rect")) // 2  # each has a lower part


def headings(page):
    """Return the names of all counters on a page."""
    return re.findall("<h2><code>(.*?)</code></h2>", page)


def test_page(web, counter):
    """The page has the own counter first, values and today's hits, and nothing about the store."""
    counter.hit("orders", 41336, visitor="someone")
    counter.hit("visits")
    response = web.get("/stats")
    assert response.status_code == 200
    assert response.mimetype == "text/html"
    assert response.headers["Cache-Control"] == "no-store"
    assert shown(response.text) == [("visits", 1), ("orders", 41336)]
    assert "41,<wbr>336" in response.text
    words = " ".join(response.text.split())
    assert "Today 41,336 hits of 1 unique visitor, in 30 days 41,336 hits." in words
    assert "1 to 2 of 2 counters" in words
    assert counter.store_info().version not in words
    assert "Memory" not in words


def test_page_shows_the_store(server, counter):
    """With COUNTER_SHOW_STORE the page shows the store's information."""
    app = create_app({"REDIS_URL": server.url, "COUNTER_SHOW_STORE": True})
    words = app.test_client().get("/stats").text
    assert "Append-only file</dt><dd>on, written" in words
    assert counter.store_info().version in words


def test_page_order(web, counter):
    """Counters are in descending order of their values, equal ones by name."""
    for name, hits in {"b": 5, "a": 5, "few": 1, "visits": 2, "many": 70}.items():
        counter.hit(name, hits)
    assert headings(web.get("/stats").text) == ["visits", "many", "a", "b", "few"]
    assert headings(web.get("/stats?after=").text) == ["visits", "a", "b", "few", "many"]
    assert headings(web.get("/stats?after=b").text) == ["few", "many"]


def test_page_search(web, counter):
    """A search finds names that contain a text, ignoring case, and shows how many."""
    for name in ("shop", "Shop.cart", "blog", "workshop"):
        counter.hit(name)
    page = web.get("/stats?q=SHOP&days=7").text
    assert headings(page) == ["Shop.cart", "shop", "workshop"]
    assert "1 to 3 of 3 counters with “SHOP” in the name" in " ".join(page.split())
    assert 'value="SHOP"' in page
    assert 'name="days" value="7"' in page
    assert "q=SHOP" in re.search(r'href="([^"]*)"[^>]*>90 days', page)[1]
    nothing = web.get("/stats?q=%3Cscript%3E").text
    assert "No counter has “&lt;script&gt;” in its name." in nothing
    assert headings(web.get("/stats?q=visit").text) == ["visits"]
    assert "<script>" not in nothing


def test_page_with_too_many_counters(web, counter, monkeypatch):
    """Of too many counters the first by name are ranked, and the page says that there are more."""
    monkeypatch.setattr(ranking, "MAX_COUNTERS", 2)
    for name in ("a", "b", "c"):
        counter.hit(name)
    assert "of more than 3 counters" in " ".join(web.get("/stats").text.split())
    assert headings(web.get("/stats?after=b").text) == ["c"]


def test_ranking_cache(web, counter, monkeypatch):
    """With many counters the ranking is cached, and the values are always read."""
    monkeypatch.setattr(ranking, "CACHE_FROM", 1)
    counter.hit("a", 2)
    counter.hit("b")
    assert shown(web.get("/stats").text) == [("visits", 0), ("a", 2), ("b", 1)]
    counter.hit("b", 5)
    assert shown(web.get("/stats").text) == [("visits", 0), ("a", 2), ("b", 6)]
    monkeypatch.setattr(ranking, "TTL", 0)
    ranking.init_app(web.application)
    assert shown(web.get("/stats").text) == [("visits", 0), ("b", 6), ("a", 2)]


def test_a_counter_without_hits_has_no_chart(web, counter):
    """A counter without hits has neither chart nor table."""
    counter.set("old", 41336)
    counter.hit("new")
    page = web.get("/stats").text
    assert re.findall(r'src="/stats/(.*?)\.svg', page) == ["new"]
    assert page.count("<table>") == 1
    assert page.count("No hits in 30 days.") == 2


def test_page_before_the_first_visit(web, client):
    """Before the first visit the page shows a zero, and creates nothing."""
    page = web.get("/stats").text
    assert shown(page) == [("visits", 0)]
    assert web.get("/stats/visits.svg").status_code == 200
    assert client.dbsize() == 0


def test_page_by_page(web, counter):
    """Each counter is on one page, and the service's own on the first."""
    names = {f"c{number:02}" for number in range(45)} | {"visits"}
    for name in names:
        counter.hit(name)
    link, seen, pages = "/stats?days=7", [], 0
    while link:
        page = web.get(link).text
        seen += headings(page)
        pages += 1
        found = re.search('class="button" href="(.*?)"', page)
        link = found and found[1].replace("&amp;", "&")
    assert seen[0] == "visits"
    assert sorted(seen) == sorted(names)
    assert pages == 3
    assert "no more counters" in web.get("/stats?after=zzz").text


def test_page_of_named_counters(web, counter, client):
    """The page shows only the named counters, also a missing and an invalid one."""
    counter.hit("a")
    client.set("counter:{b}", "text")
    page = web.get("/stats?name=b&name=a&name=none").text
    assert headings(page) == ["b", "a", "none"]
    assert shown(page) == [("a", 1)]
    assert "There is no such counter" in page
    assert "holds something that is not an integer" in page


@pytest.mark.parametrize("part", ["", ":days", ":visitors"])
@pytest.mark.parametrize("what", ["a text", "a list", "a text in it"])
def test_page_with_an_invalid_counter(web, counter, client, part, what):
    """An invalid counter is marked, whichever of its keys is invalid; all others are shown."""
    for name in ("a", "broken", "z"):
        counter.hit(name)
    key = f"counter:{{broken}}{part}"
    if what == "a text in it" and part == ":days":
        client.hset(key, mapping=dict.fromkeys(client.hgetall(key), "text"))
    else:
        client.delete(key)
        client.rpush(key, "text") if what == "a list" else client.set(key, "text")
    page = web.get("/stats").text
    assert sorted(headings(page)) == ["a", "broken", "visits", "z"]
    assert shown(page) == [("visits", 0), ("a", 1), ("z", 1)]
    assert page.count("holds something that is not an integer") == 1


@pytest.mark.parametrize(
    "query",
    ["name=a%20b", "name=a&name=", "&".join(["name=a"] * 21)],
)
def test_page_rejects_invalid_queries(web, query):
    """Too many or invalid names are a 400."""
    assert web.get(f"/stats?{query}").status_code == 400


@pytest.mark.parametrize(
    "query",
    ["days=6", "days=366", "days=x", "days=30&days=7", "name=visits&after=b", "after=a&after=b",
     "page=0", "page=x", "utm_source=x", "fbclid=x&gclid=y", "pages=2", "after=%ff"],
)  # fmt: skip
def test_page_ignores_unknown_parameters(web, query):
    """Unknown parameters and invalid days are ignored."""
    page = web.get(f"/stats?{query}")
    assert page.status_code == 200
    assert 'aria-current="page">30 days' in page.text


def test_page_has_nothing_inline(web, counter):
    """The page has no inline scripts and styles, which a policy may forbid."""
    counter.hit("visits")
    for path in ("/stats", "/"):
        page = web.get(path).text
        assert not re.search(r"<style|\sstyle=|<script(?! src=)|\son\w+=", page)


def test_page_during_an_outage():
    """During an outage the page is a 503, as HTML for a browser."""
    web = create_app({"REDIS_URL": nowhere()}).test_client()
    assert web.get("/stats").status_code == 503
    page = web.get("/stats", headers=BROWSER)
    assert (page.status_code, page.mimetype) == (503, "text/html")
    assert "not available just now" in page.text
    assert page.headers["Retry-After"] == "1"
    chart = web.get("/stats/visits.svg", headers=BROWSER)
    assert (chart.mimetype, chart.headers["Counter-Status"]) == ("image/svg+xml", "503")


def test_chart(web, counter):
    """A chart has a bar per day, no script, and no external resources."""
    counter.hit("visits", 5, visitor="someone")
    response = web.get("/stats/visits.svg?days=7")
    assert response.mimetype == "image/svg+xml"
    assert "style-src 'unsafe-inline'" in response.headers["Content-Security-Policy"]
    assert bars(response.text) == 7
    assert "prefers-color-scheme:dark" in response.text
    assert not re.search(r"<script|http(?!://www\.w3\.org/)", response.text)
    assert len(response.data) < 8000
    assert not any(type(finder).__module__ == "pygal" for finder in sys.meta_path)


def test_chart_not_modified(web, counter):
    """An unchanged chart is a 304 until the next hit."""
    counter.hit("visits")
    first = web.get("/stats/visits.svg")
    assert first.headers["Cache-Control"] == "no-cache"
    again = web.get("/stats/visits.svg", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    counter.hit("visits")
    changed = web.get("/stats/visits.svg", headers={"If-None-Match": first.headers["ETag"]})
    assert changed.status_code == 200
    assert web.get("/stats/visits.svg").text == changed.text


@pytest.mark.parametrize(("name", "status"), [("none", 404), ("a%20b", 400), ("broken", 500)])
def test_chart_errors(web, client, name, status):
    """An error is a picture that says so, with the problem's status in a header."""
    client.set("counter:{broken}", "text")
    response = web.get(f"/stats/{name}.svg")
    assert (response.status_code, response.mimetype) == (200, "image/svg+xml")
    assert response.headers["Counter-Status"] == str(status)


@pytest.mark.parametrize("days", [7, 30, 90, 365])
@pytest.mark.parametrize("amount", [0, 1, MAX])
def test_chart_sizes(web, counter, client, days, amount):
    """Charts render from zero to the largest value; above 100 days a bar is a week."""
    client.set(KEY, 0)
    if amount:
        counter.hit("visits", amount, visitor="someone")
    chart = web.get(f"/stats/visits.svg?days={days}").text
    assert bars(chart) == (days if days <= charts.MAX_BARS else days // 7)
    by_week = days > charts.MAX_BARS and amount > 0
    assert ("by week" in web.get(f"/stats?days={days}").text) == by_week


def test_page_without_pygal(web, counter, without_pygal):
    """Without pygal the page has numbers and tables, but no images."""
    counter.hit("visits")
    page = web.get("/stats").text
    assert shown(page) == [("visits", 1)]
    assert "<table>" in page
    assert "visits.svg" not in page
    assert web.get("/stats/visits.svg").headers["Counter-Status"] == "501"


@pytest.mark.parametrize("path", ["/stats", "/counters/visits"])
def test_outage_page_without_a_visit(path):
    """The error page of a route that only reads does not mention a visit."""
    page = create_app({"REDIS_URL": nowhere()}).test_client().get(path, headers=BROWSER)
    assert page.status_code == 503
    assert "The store cannot be reached." in page.text
    assert "counted" not in page.text
    counting = create_app({"REDIS_URL": nowhere()}).test_client().get("/count", headers=BROWSER)
    assert "Your visit was not counted." in counting.text
