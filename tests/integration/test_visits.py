"""What is a visit, whose it is, and which host it is for: by its headers, on real stores."""

import re

import pytest

from .support import BROWSER, KEY, contents, problem

GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
HITS = [("GET", "/count"), ("POST", "/count"), ("POST", "/counters/visits/hits")]


@pytest.fixture
def service(server, client, client_of):
    """Make clients of the service with further settings, on an empty store."""

    def make(**config):
        return client_of(REDIS_URL=server.url, COUNTER_TIMEOUT=10, **config)

    return make


def uncounted(value, reason):
    """Return the answer to what is no visit."""
    return {"name": "visits", "value": value, "counted": False, "reason": reason}


def hit(web, *, peer="127.0.0.1", **headers):
    """Hit, from an address."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.post("/count", headers=headers, environ_overrides={"REMOTE_ADDR": peer}).json


def today(web):
    """Return how many hits and how many visitors there were today."""
    [day] = web.get("/counters/visits/series?days=1").json["series"]
    return day["hits"], day["visitors"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("Sec-Purpose", "prefetch"), ("Sec-Purpose", "prefetch;prerender"), ("Purpose", "prefetch"),
     ("X-Moz", "prefetch"), ("X-Purpose", "preview")],
)  # fmt: skip
@pytest.mark.parametrize(("method", "path"), HITS)
def test_what_a_browser_fetches_early(web, client, method, path, name, value):
    """It gets the value that stands, and nothing counts, not even once it has a key."""
    assert web.open(path, method=method).json["value"] == 1
    before = contents(client)
    for key in ({}, {"Idempotency-Key": '"k"'}):
        answer = web.open(path, method=method, headers={name: value, **key})
        assert answer.json == uncounted(1, "prefetch")
        assert answer.headers["Cache-Control"] == "no-store"
    page = web.open(path, method=method, headers={name: value, **BROWSER})
    assert "not counted" in page.text
    assert contents(client) == before
    assert web.open(path, method=method, headers={name: "visit"}).json["value"] == 2


def test_what_comes_early_makes_no_counter(web, client):
    """Its value is zero then."""
    assert web.post("/count", headers={"Purpose": "prefetch"}).json == uncounted(0, "prefetch")
    assert contents(client) == {}


@pytest.mark.parametrize(
    "headers", [{"Idempotency-Key": "a b"}, {"Accept": ";;"}, {"Host": "a b"}], ids=str
)
def test_what_is_malformed_comes_first(web, client, headers):
    """A prefetch says the same of a request as the visit after it."""
    problem(web.get("/count", headers={"Sec-Purpose": "prefetch", **headers}), 400)
    assert contents(client) == {}


@pytest.mark.parametrize(("method", "path"), HITS)
def test_crawlers_that_are_ignored(service, client, method, path):
    """Those that say they are one get the value that stands; people count, on every way."""
    pytest.importorskip("crawleruseragents", reason="COUNTER_IGNORE_BOTS=true needs the package")
    web = service(COUNTER_IGNORE_BOTS=True)
    person, crawler = {"User-Agent": FIREFOX}, {"User-Agent": GOOGLEBOT}
    assert web.open(path, method=method, headers=person).json["value"] == 1
    before = contents(client)
    assert web.open(path, method=method, headers=crawler).json == uncounted(1, "bot")
    page = web.open(path, method=method, headers=crawler | BROWSER)
    assert "crawlers" in page.text
    assert contents(client) == before
    assert web.open(path, method=method, headers=person | BROWSER).status_code == 200
    assert client.get(KEY) == b"2"


def test_crawlers_count_otherwise(web, client):
    """Unless it is said that they do not."""
    assert web.post("/count", headers={"User-Agent": GOOGLEBOT}).json["counted"] is True
    assert client.get(KEY) == b"1"


def test_a_reload(service, client):
    """It gets the value that stands; who is another counts, and so does a program with keys."""
    web = service(COUNTER_VISITOR_WINDOW=60)
    assert hit(web, User_Agent="a")["value"] == 1
    assert hit(web, User_Agent="b")["value"] == 2
    assert hit(web, User_Agent="a") == uncounted(2, "reload")
    assert hit(web, User_Agent="a", peer="192.0.2.1")["value"] == 3
    assert web.post("/counters/visits/hits?amount=7", headers={"User-Agent": "b"}).json == (
        uncounted(3, "reload")
    )
    page = web.get("/count", headers={"User-Agent": "a", **BROWSER})
    assert "a moment ago" in page.text
    assert client.get(KEY) == b"3"
    assert hit(web, User_Agent="a", Idempotency_Key='"k"')["value"] == 4
    assert web.post("/counters/other/hits", headers={"User-Agent": "a"}).json["value"] == 1
    assert today(web) == (4, 3)


@pytest.mark.parametrize("path", ["/count", "/counters/visits/hits"])
def test_a_reload_of_a_page_with_a_script(service, client, path):
    """Five loads within the seconds are one hit, though the script sends a new key each time."""
    web = service(COUNTER_VISITOR_WINDOW=30)
    answers = [
        web.post(path, headers={"Origin": "https://site.example", "Idempotency-Key": f'"{load}"'})
        for load in "12345"
    ]
    assert answers[0].json == {"name": "visits", "value": 1, "counted": True}
    assert [answer.json for answer in answers[1:]] == 4 * [uncounted(1, "reload")]
    again = web.post(path, headers={"Origin": "https://site.example", "Idempotency-Key": '"1"'})
    assert again.headers["Idempotent-Replayed"] == "true"
    assert client.get(KEY) == b"1"


@pytest.mark.parametrize("seconds", [0, 60])
def test_the_page_says_whether_a_reload_counts(service, seconds):
    """It promises none where it does not."""
    page = service(COUNTER_VISITOR_WINDOW=seconds).get("/count", headers=BROWSER)
    assert "Your visit was counted" in page.text
    assert ("A reload counts again" in page.text) == (seconds == 0)


def test_who_is_nobody_counts_each_time(service, client):
    """Nothing is kept that would tell a reload, where that was asked for."""
    web = service(COUNTER_VISITOR_WINDOW=60)
    values = [hit(web, DNT="1")["value"] for _ in range(2)]
    assert values == [1, 2]
    assert f"{KEY}:seen".encode() not in contents(client)


@pytest.mark.parametrize("opt_out", [True, False])
@pytest.mark.parametrize("wish", [{"DNT": "1"}, {"Sec_GPC": "1"}])
def test_who_does_not_want_to_be_known(service, client, wish, opt_out):
    """Counts, and is no unique visitor, unless the service does not care."""
    web = service(COUNTER_RESPECT_DNT=opt_out)
    hit(web)
    hit(web, User_Agent="another", **wish)
    assert today(web) == (2, 1 if opt_out else 2)
    assert client.get(KEY) == b"2"


def test_no_visitors_at_all(service, client):
    """Nothing about them is kept then."""
    web = service(COUNTER_VISITORS=False)
    hit(web)
    hit(web, User_Agent="another")
    assert today(web) == (2, 0)
    assert not [key for key in contents(client) if b":visitors" in key or b":salt" in key]


def test_what_is_kept_of_a_visitor(web, client):
    """Neither address nor agent."""
    hit(web, peer="203.0.113.7", User_Agent="somebody")
    assert today(web) == (1, 1)
    held = b" ".join(key + value for key, value in contents(client).items())
    assert b"203.0.113" not in held
    assert b"somebody" not in held


def test_a_proxy_that_is_believed(service, client):
    """Visitors are told by what it has added on the right; what they say themselves is nothing."""
    web = service(COUNTER_TRUSTED_PROXIES="10.0.0.0/8, fd00::1")
    for forwarded in ("203.0.113.7", "198.51.100.1, 203.0.113.7", "10.0.0.9,203.0.113.7"):
        hit(web, peer="10.0.0.1", X_Forwarded_For=forwarded)
    assert today(web) == (3, 1)
    hit(web, peer="10.0.0.1", X_Forwarded_For="203.0.113.8")
    hit(web, peer="10.0.0.1", X_Forwarded_For="203.0.113.8, 10.0.0.2")
    hit(web, peer="fd00::1", X_Forwarded_For="203.0.113.8")
    assert today(web) == (6, 2)
    hit(web, peer="fd00::1", X_Forwarded_For="2001:db8::7")
    assert today(web) == (7, 3)
    assert client.get(KEY) == b"7"


def test_the_port_that_a_proxy_was_asked_from(service):
    """It is another one each time, and makes no other visitor."""
    web = service(COUNTER_TRUSTED_PROXIES="10.0.0.1")
    for forwarded in ("203.0.113.7:4711", "203.0.113.7:4712", "203.0.113.7"):
        hit(web, peer="10.0.0.1", X_Forwarded_For=forwarded)
    for forwarded in ("[2001:db8::7]:4711", "[2001:db8::7]", "2001:db8::7"):
        hit(web, peer="10.0.0.1", X_Forwarded_For=forwarded)
    assert today(web) == (6, 2)


@pytest.mark.parametrize(
    ("peer", "said", "scheme"),
    [("10.0.0.1", "https", "https"), ("10.0.0.1", "HTTPS", "https"), ("10.0.0.1", "http", "http"),
     ("10.0.0.1", "http, https", "https"), ("10.0.0.1", "https, http", "http"),
     # What says nothing, and a stranger.
     ("10.0.0.1", "", "http"), ("10.0.0.1", "javascript", "http"), ("10.0.0.1", "\xff", "http"),
     ("10.0.0.2", "https", "http")],
)  # fmt: skip
def test_the_scheme_that_a_proxy_was_asked_by(service, peer, said, scheme):
    """It is in the addresses that are shown; the host is the one of `Host`, and no other."""
    web = service(COUNTER_TRUSTED_PROXIES="10.0.0.1")
    headers = {"Host": "counter.example.org", "X-Forwarded-Proto": said, **BROWSER,
               "X-Forwarded-Host": "evil.example", "X-Forwarded-Port": "81",
               "X-Forwarded-Prefix": "//evil", "Forwarded": "host=evil.example"}  # fmt: skip
    for path in ("/snippet", "/"):
        page = web.get(path, headers=headers, environ_overrides={"REMOTE_ADDR": peer}).text
        assert "evil" not in page
        shown = re.findall(r"\w+://(?=counter\.example\.org/)", page)
        assert set(shown) == {f"{scheme}://"}


def test_a_scheme_that_nobody_asked_for(web):
    """Without proxies nobody is believed."""
    page = web.get("/snippet", headers={"X-Forwarded-Proto": "https", "Host": "a.example"}).text
    assert "http://a.example/" in page
    assert "https://a.example" not in page


def test_a_proxy_that_is_none_of_ours(service, client):
    """Whatever it says, it is the visitor."""
    web = service(COUNTER_TRUSTED_PROXIES="10.0.0.1")
    for forwarded in ("203.0.113.7", "203.0.113.8", "10.0.0.1"):
        hit(web, peer="10.0.0.2", X_Forwarded_For=forwarded)
    assert today(web) == (3, 1)


def test_no_proxy_is_believed_unasked(web):
    """Not even one on this machine."""
    for forwarded in ("203.0.113.7", "203.0.113.8"):
        hit(web, X_Forwarded_For=forwarded)
    assert today(web) == (2, 1)


def test_reloads_behind_a_proxy(service, client):
    """A lie makes no new visitor, and two visitors of one proxy are not one."""
    web = service(COUNTER_TRUSTED_PROXIES="10.0.0.1", COUNTER_VISITOR_WINDOW=60)
    first = {"peer": "10.0.0.1", "X_Forwarded_For": "203.0.113.7"}
    lie = {"peer": "10.0.0.1", "X_Forwarded_For": "198.51.100.1, 203.0.113.7"}
    other = {"peer": "10.0.0.1", "X_Forwarded_For": "203.0.113.8"}
    counted = [hit(web, **who)["counted"] for who in (first, lie, other)]
    assert counted == [True, False, True]
    assert client.get(KEY) == b"2"


HOSTS = "example.org, .Example.NET, stack_web, last.dot., Bücher.example, 10.0.0.7, ::1"


@pytest.mark.parametrize(
    "host", ["example.org", "example.org:5000", "EXAMPLE.org", "example.net", "a.b.example.net",
             "example.org.", "stack_web:5000", "last.dot", "xn--bcher-kva.example", "10.0.0.7:80",
             "[::1]:5000", "[0:0::1]"],
)  # fmt: skip
def test_a_host_that_is_ours(service, client, host):
    """With any port, in any case."""
    web = service(COUNTER_TRUSTED_HOSTS=HOSTS)
    assert web.get("/count", headers={"Host": host}).json["value"] == 1


@pytest.mark.parametrize(
    "host", ["evil.example", "a.example.org", "example.org.evil.example", "xexample.net", "",
             "example.org@evil.example", "localhost", "example.org,evil.example",
             "bücher.example", "net", "[::2]", "10.0.0.70"],
)  # fmt: skip
@pytest.mark.parametrize(("method", "path"), [*HITS, ("GET", "/counters/visits"), ("GET", "/")])
def test_a_host_that_is_not_ours(service, client, method, path, host):
    """400, on every route that answers about counters, and nothing counted."""
    web = service(COUNTER_TRUSTED_HOSTS=HOSTS)
    answer = web.open(path, method=method, headers={"Host": host})
    assert "Host" in problem(answer, 400)["detail"]
    assert contents(client) == {}


def test_health_is_for_any_host(service):
    """A load balancer asks by address."""
    web = service(COUNTER_TRUSTED_HOSTS=HOSTS)
    assert web.get("/readyz", headers={"Host": "10.0.0.1:5000"}).status_code == 200


@pytest.mark.parametrize(("method", "path"), HITS)
def test_a_client_that_comes_too_often(service, client, method, path):
    """429, when to come again, and nothing counted; others count, and so do readers."""
    web = service(COUNTER_RATE_LIMIT="2/3600")

    def ask(peer, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        place = {"REMOTE_ADDR": peer}
        return web.open(path, method=method, headers=headers, environ_overrides=place)

    assert [ask("192.0.2.1").json["value"] for _ in range(2)] == [1, 2]
    for headers in ({}, {"User_Agent": "another"}, {"DNT": "1"}, {"X_Forwarded_For": "192.0.2.3"}):
        refused = ask("192.0.2.1", **headers)
        assert problem(refused, 429)["counted"] is False
        assert 1 <= int(refused.headers["Retry-After"]) <= 3600
    page = ask("192.0.2.1", Accept="text/html")
    assert (page.status_code, page.mimetype) == (429, "text/html")
    assert ask("192.0.2.2").json["value"] == 3
    assert web.get("/counters/visits").status_code == 200
    assert client.get(KEY) == b"3"


def test_a_rate_behind_a_proxy(service, client):
    """Each client of the proxy has its own; a lie gets around nothing."""
    web = service(COUNTER_RATE_LIMIT="1/3600", COUNTER_TRUSTED_PROXIES="10.0.0.1")

    def ask(forwarded):
        answer = web.post(
            "/count",
            headers={"X-Forwarded-For": forwarded},
            environ_overrides={"REMOTE_ADDR": "10.0.0.1"},
        )
        return answer.status_code

    assert [ask("203.0.113.7"), ask("203.0.113.7"), ask("198.51.100.1, 203.0.113.7")] == [
        200, 429, 429
    ]  # fmt: skip
    assert ask("203.0.113.8") == 200
    assert client.get(KEY) == b"2"


@pytest.mark.parametrize(("method", "path"), HITS)
def test_a_rate_holds_for_an_ipv6_network(service, client, method, path):
    """Whatever addresses of it the hits come from; another network has a rate of its own."""
    web = service(COUNTER_RATE_LIMIT="5/60")
    for address in [f"2001:db8::{number:x}" for number in range(20)] + ["2001:db8:0:1::1"]:
        web.open(path, method=method, environ_overrides={"REMOTE_ADDR": address})
    assert client.get(KEY) == b"6"
    counted = [
        web.open(path, method=method, environ_overrides={"REMOTE_ADDR": address}).status_code
        for address in ["192.0.2.1"] * 3 + ["::ffff:192.0.2.1"] * 3
    ]
    assert counted == [200] * 5 + [429]
