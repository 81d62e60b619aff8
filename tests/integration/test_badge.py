"""Badges and charts as pictures on real stores: value, counting and errors."""

import json
from xml.etree import ElementTree

import pytest

from flask_redis_counter import OutcomeUnknownError, RedisCounter, create_app
from flask_redis_counter.testing import wait_until

from .support import BROWSER, KEY, MAX

PHONE = {"User-Agent": "Mozilla/5.0 (Android 16; Mobile; rv:150.0) Gecko/150.0 Firefox/150.0"}
BOTH = ["/counters/visits.svg", "/hit/visits.svg"]


def says(response, status=None, *, chart=False):
    """Check that a response is a picture with the status 200, and return its text.

    :param status: the expected Counter-Status; None: the header is absent.
    :param chart: whether it is a chart, which has no text.
    """
    assert response.status_code == 200
    assert response.headers.get("Counter-Status") == (status and str(status))
    if status is not None:
        assert response.headers["Cache-Control"] == "no-store"
        assert "ETag" not in response.headers
    assert response.mimetype == "image/svg+xml"
    picture = ElementTree.fromstring(response.data)  # noqa: S314, it is ours
    return chart or picture.attrib["aria-label"]


def problem(response, status):
    """Check that a response is a problem document, and return its detail."""
    assert response.status_code == status
    assert response.mimetype == "application/problem+json"
    return json.loads(response.text)["detail"]


def test_badge_reads(web, client):
    """The badge shows the value without counting; caches must revalidate it."""
    client.set(KEY, 1234)
    response = web.get("/counters/visits.svg")
    assert says(response) == "visits: 1234"
    assert response.headers["Cache-Control"] == "no-cache"
    asking = {"If-None-Match": response.headers["ETag"]}
    assert web.get("/counters/visits.svg", headers=asking).status_code == 304
    assert web.head("/counters/visits.svg").headers["ETag"] == response.headers["ETag"]
    assert client.get(KEY) == b"1234"
    client.incr(KEY)
    assert says(web.get("/counters/visits.svg", headers=asking)) == "visits: 1235"


def test_hit_badge_counts(web, client):
    """Each request for the picture counts; HEAD and OPTIONS do not."""
    for value in (1, 2, 3):
        response = web.get("/hit/visits.svg")
        assert says(response) == f"visits: {value}"
        assert response.headers["Cache-Control"] == "no-store"
        assert "ETag" not in response.headers
    head = web.head("/hit/visits.svg")
    assert (head.status_code, head.text) == (200, "")
    assert head.headers["Cache-Control"] == "no-store"
    assert web.options("/hit/visits.svg").status_code == 200
    assert web.post("/hit/visits.svg").status_code == 405
    assert client.get(KEY) == b"3"


def test_badge_style(web, client):
    """Label, colours and format come from the query; the label is escaped."""
    client.set(KEY, -1234567)
    query = {"label": "<b>&\"'", "color": "abc", "label_color": "#123456"}
    for form, number in {"plain": "-1234567", "comma": "-1,234,567", "short": "-1.2M"}.items():
        response = web.get("/counters/visits.svg", query_string={**query, "format": form})
        assert says(response) == f"<b>&\"': {number}"
        assert 'fill="#aabbcc"' in response.text
        assert 'fill="#123456"' in response.text
        assert "<b>" not in response.text
    assert client.get(KEY) == b"-1234567"


#: Queries of links and pictures in practice, and mistakes.
QUERIES = ["v=2", "amp;color=red", "label=a&amp;color=red", "utm_source=x", "cache=no&maxAge=60",
           "t=1764000000&t=2", "logo=redis&style=flat-square", "lable=a", "amount=2", "color=nope",
           "color=BLUE", "color=1234", "label_color=%23", "format=big", "label=%00",
           "label=a&label=b", f"label={'x' * 65}", "color=%ff", "&&=&%"]  # fmt: skip


@pytest.mark.parametrize("query", QUERIES)
def test_badge_ignores_invalid_queries(web, client, query):
    """With any query the picture shows the value, and a picture that counts counts."""
    client.set(KEY, 5)
    assert says(web.get("/counters/visits.svg", query_string=query)).endswith("5")
    assert web.get("/counters/visits/shields.json", query_string=query).json["message"] == "5"
    assert says(web.get("/hit/visits.svg", query_string=query)).endswith("6")
    assert says(web.get("/stats/visits.svg", query_string=f"days=x&{query}"), chart=True)
    assert client.get(KEY) == b"6"


@pytest.mark.parametrize(
    "path",
    ["/counters/a%20b.svg", "/hit/a%20b.svg", f"/hit/{'x' * 65}.svg", "/hit/a.json.svg",
     "/stats/a%20b.svg"],
)  # fmt: skip
def test_badge_of_an_invalid_name(web, client, path):
    """An invalid name is a picture that says so, and creates no counter."""
    assert says(web.get(path), 400).endswith(": invalid")
    assert client.dbsize() == 0


@pytest.mark.parametrize("path", ["/hit/a/b.svg", "/counters/a/b/c.svg", "/hit/.svg"])
def test_badge_without_a_route(web, client, path):
    """An unknown path that looks like a picture's is a picture."""
    assert says(web.get(path), 404).endswith("unknown")
    assert client.dbsize() == 0


def test_badge_with_a_rejected_host(server, client, client_of):
    """The request checks apply to a picture that counts, and the error is a picture."""
    web = client_of(REDIS_URL=server.url, COUNTER_TRUSTED_HOSTS="good.example")
    response = web.get("/hit/visits.svg", headers={"Host": "evil.example"})
    assert says(response, 400) == "visits: invalid"
    assert response.headers["Counted"] == "false"
    assert client.dbsize() == 0


def test_badge_with_a_rejected_body(server, client):
    """A GET with a body that Flask rejects gets a picture as well."""
    web = create_app({"REDIS_URL": server.url}).test_client()  # connections reject it before Flask
    assert says(web.get("/hit/visits.svg", data=b"x" * 65537), 413)
    assert client.dbsize() == 0


def test_badge_with_a_bug(web_alone, monkeypatch, caplog):
    """An unexpected exception is a picture that says so, and is logged."""
    monkeypatch.setattr(RedisCounter, "value", lambda *_: 1 / 0)
    monkeypatch.setattr(RedisCounter, "hit", lambda *_, **__: 1 / 0)
    for path in BOTH:
        assert says(web_alone.get(path), 500) == "visits: broken"
    assert "ZeroDivisionError" in caplog.text


def test_badge_of_an_unknown_counter(web, client):
    """The badge of an unknown counter shows it, has the status 404, and creates nothing."""
    for response in (web.get("/counters/none.svg"), web.get("/counters/none.svg?label=a")):
        assert says(response, 404).endswith(": unknown")
        assert response.headers["Cache-Control"] == "no-store"
    assert web.head("/hit/none.svg").headers["Counter-Status"] == "404"
    assert client.dbsize() == 0


def test_hit_badge_respects_max_counters(server, client, client_of):
    """A picture creates no counter without auto-create, and none above the maximum."""
    web = client_of(REDIS_URL=server.url, COUNTER_AUTO_CREATE=False)
    assert says(web.get("/hit/visits.svg"), 404) == "visits: unknown"
    assert client.dbsize() == 0
    web = client_of(REDIS_URL=server.url, COUNTER_MAX_COUNTERS=1)
    assert says(web.get("/hit/visits.svg")) == "visits: 1"
    assert says(web.get("/hit/other.svg"), 409) == "other: full"
    assert client.get("counter:{other}") is None
    assert client.get(KEY) == b"1"


def test_hit_badge_rate_limit(server, client, client_of):
    """A hit above the rate limit has 429 and Retry-After, and is not counted; reads are free."""
    web = client_of(REDIS_URL=server.url, COUNTER_RATE_LIMIT="1/86400")
    assert says(web.get("/hit/visits.svg")) == "visits: 1"
    response = web.get("/hit/visits.svg")
    assert says(response, 429) == "visits: too often"
    assert 86_000 < int(response.headers["Retry-After"]) <= 86_400
    assert says(web.get("/counters/visits.svg")) == "visits: 1"
    assert client.get(KEY) == b"1"


def test_hit_badge_at_the_largest_value(web, client):
    """At the largest value the picture has 409; the counter does not wrap."""
    client.set(KEY, MAX)
    assert says(web.get("/hit/visits.svg"), 409) == "visits: full"
    assert says(web.get("/counters/visits.svg?format=short")) == "visits: 9.2E"
    assert client.get(KEY) == b"9223372036854775807"


@pytest.mark.parametrize("path", BOTH)
def test_badge_of_a_non_integer(web, client, path, caplog):
    """A key that is not an integer is a logged 500 without a number; the key stays."""
    client.set(KEY, "abc")
    assert says(web.get(path), 500) == "visits: broken"
    assert KEY in caplog.text
    assert client.get(KEY) == b"abc"


@pytest.mark.parametrize("path", BOTH)
def test_badge_during_an_outage(web_alone, path):
    """During an outage the picture says so, never a zero, with the problem's status and headers."""
    response = web_alone.get(path, headers={"Accept": "image/svg+xml,image/*;q=0.8"})
    assert says(response, 503) == "visits: unavailable"
    assert response.headers["Retry-After"] == "1"
    assert response.headers.get("Counted") == ("false" if path.startswith("/hit") else None)
    assert web_alone.head(path).headers["Counter-Status"] == "503"


def test_hit_badge_with_an_unknown_outcome(web_alone, monkeypatch):
    """An unknown outcome has Retry-After only with a key: a retry without one could count twice."""

    def unanswered(*_, **__):
        raise OutcomeUnknownError("no answer")

    monkeypatch.setattr(RedisCounter, "hit", unanswered)
    response = web_alone.get("/hit/visits.svg")
    assert says(response, 503) == "visits: unavailable"
    assert response.headers["Counted"] == "unknown"
    assert "Retry-After" not in response.headers
    keyed = web_alone.get("/hit/visits.svg", headers={"Idempotency-Key": '"k"'})
    assert keyed.headers["Retry-After"] == "1"


def test_hit_badge_spooled(own_server, client_of, tmp_path):
    """A spooled visit has 202 and no number; it is counted once when the store is back."""
    spool = {"COUNTER_ON_OUTAGE": "spool", "COUNTER_SPOOL_DIR": str(tmp_path / "spool")}
    web = client_of(REDIS_URL=own_server.url, **spool)
    assert says(web.get("/hit/visits.svg")) == "visits: 1"
    own_server.kill()
    response = web.get("/hit/visits.svg", headers={"Accept": "image/*"})
    assert says(response, 202) == "visits: noted"
    assert response.headers["Counted"] == "spooled"
    own_server.start()
    wait_until(lambda: message_of(web) == "visits: 2", what="the hit in the store")


def message_of(web):
    """Return the message of a badge, with a value or without."""
    return says(response := web.get("/counters/visits.svg"), response.headers.get("Counter-Status"))


def test_hit_badge_same_key_counts_once(web, client):
    """A client that sends a key twice is counted once."""
    headers = {"Idempotency-Key": '"k"'}
    first, again = (web.get("/hit/visits.svg", headers=headers) for _ in range(2))
    assert says(first) == says(again) == "visits: 1"
    assert again.headers["Idempotent-Replayed"] == "true"
    assert says(web.get("/hit/visits.svg", headers={"Idempotency-Key": '"'}), 400)
    assert client.get(KEY) == b"1"


@pytest.mark.parametrize("header", ["Sec-Purpose", "Purpose", "X-Moz"])
def test_hit_badge_prefetch(web, client, header):
    """A prefetch does not count, and gets the badge if the counter exists."""
    assert says(web.get("/hit/visits.svg", headers={header: "prefetch"}), 404) == "visits: unknown"
    client.set(KEY, 5)
    assert says(web.get("/hit/visits.svg", headers={header: "prefetch"})) == "visits: 5"
    assert client.get(KEY) == b"5"


def test_hit_badge_crawlers_and_reloads(server, client, client_of):
    """Crawlers and reloads get the badge, and do not count."""
    pytest.importorskip("crawleruseragents")
    web = client_of(REDIS_URL=server.url, COUNTER_IGNORE_BOTS=True, COUNTER_VISITOR_WINDOW=3600)
    assert says(web.get("/hit/visits.svg", headers=PHONE)) == "visits: 1"
    assert says(web.get("/hit/visits.svg", headers=PHONE)) == "visits: 1"
    crawler = {"User-Agent": "Googlebot-Image/1.0"}
    assert says(web.get("/hit/visits.svg", headers=crawler)) == "visits: 1"
    assert client.get(KEY) == b"1"


def test_hit_badge_visitors(web):
    """Visitors of a picture are recorded, as those of a page."""
    for agent in ("one", "two", "one"):
        web.get("/hit/visits.svg", headers={"User-Agent": agent})
    today = web.get("/counters/visits/series").json["series"][-1]
    assert (today["hits"], today["visitors"]) == (3, 2)


def test_shields(web, client):
    """The JSON has the schema of https://shields.io/badges/endpoint-badge, and takes parameters."""
    client.set(KEY, 1234)
    response = web.get("/counters/visits/shields.json")
    assert response.json == {
        "schemaVersion": 1,
        "label": "visits",
        "message": "1234",
        "color": "#0969da",
        "labelColor": "#555555",
        "isError": False,
        "cacheSeconds": 300,
    }
    assert response.headers["Cache-Control"] == "no-cache"
    asking = {"If-None-Match": response.headers["ETag"]}
    assert web.get("/counters/visits/shields.json", headers=asking).status_code == 304
    query = {"label": "all", "color": "red", "label_color": "000", "format": "short"}
    asked = web.get("/counters/visits/shields.json", query_string=query).json
    assert (asked["label"], asked["message"]) == ("all", "1.2k")
    assert (asked["color"], asked["labelColor"]) == ("#cf222e", "#000000")
    assert client.get(KEY) == b"1234"


def test_shields_without_a_value(web, web_alone, client):
    """Without a value the JSON is a 200 with isError, which shields.io shows, and is not cached."""
    client.set(KEY, "abc")
    for response, message in (
        (web_alone.get("/counters/visits/shields.json"), "unavailable"),
        (web.get("/counters/none/shields.json"), "unknown"),
        (web.get("/counters/visits/shields.json"), "broken"),
    ):
        assert response.status_code == 200
        assert (response.json["isError"], response.json["message"]) == (True, message)
        assert response.headers["Cache-Control"] == "no-store"
    assert web.get("/counters/a%20b/shields.json").json["message"] == "invalid"
    assert client.get("counter:{none}") is None


def test_badge_by_negotiation(web, client):
    """Accept: image/svg+xml gets the badge at the counter's URL, and nothing is counted."""
    client.set("counter:{orders}", 1234)
    image = {"Accept": "image/avif,image/webp,image/svg+xml,image/*,*/*;q=0.8"}
    badge = web.get("/counters/orders?label=seen&format=comma", headers=image)
    assert says(badge) == "seen: 1,234"
    assert badge.headers["Vary"] == "Accept"
    asked = image | {"If-None-Match": badge.headers["ETag"]}
    assert web.get("/counters/orders?label=seen&format=comma", headers=asked).status_code == 304
    assert web.get("/counters/orders", headers=BROWSER).mimetype == "text/html"
    problem(web.get("/counters/orders", headers={"Accept": "image/png"}), 406)
    assert says(web.get("/counters/none", headers=image), 404) == "none: unknown"
    problem(web.post("/counters/orders/hits", headers={"Accept": "image/svg+xml"}), 406)
    assert client.get("counter:{orders}") == b"1234"


def test_badge_of_a_name_with_a_suffix(web, client):
    """A counter NAME.svg of the library has the badge NAME.svg.svg, and no snippets."""
    client.set("counter:{a.svg}", 1)
    problem(web.get("/snippet?name=a.svg"), 400)
    assert says(web.get("/counters/a.svg.svg")) == "a.svg: 1"
    assert says(web.get("/counters/a.svg"), 404) == "a: unknown"


def test_script_media_type(web):
    """The script has a JavaScript media type: browsers run no other."""
    with web.get("/static/counter.js") as response:
        assert response.status_code == 200
        assert response.mimetype in ("text/javascript", "application/javascript")


def test_snippet_page_without_a_store(web_alone):
    """The snippet page needs no store."""
    response = web_alone.get("/snippet")
    assert response.status_code == 200
    assert response.mimetype == "text/html"
    assert web_alone.head("/snippet").status_code == 200
