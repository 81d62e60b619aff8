"""Visits, identities and hosts by the headers of a request, on real stores."""

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
    """Return the JSON of a reply to a hit that was skipped."""
    return {"name": "visits", "value": value, "counted": False, "reason": reason}


def hit(web, *, peer="127.0.0.1", **headers):
    """Send a hit from an address."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.post("/count", headers=headers, environ_overrides={"REMOTE_ADDR": peer}).json


def today(web):
    """Return today's hits and visitors."""
    [day] = web.get("/counters/visits/series?days=1").json["series"]
    return day["hits"], day["visitors"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("Sec-Purpose", "prefetch"), ("Sec-Purpose", "prefetch;prerender"), ("Purpose", "prefetch"),
     ("X-Moz", "prefetch"), ("X-Purpose", "preview")],
)  # fmt: skip
@pytest.mark.parametrize(("method", "path"), HITS)
def test_prefetch_gets_the_current_value(web, client, method, path, name, value):
    """It does not count, and its idempotency key is not recorded."""
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


def test_prefetch_makes_no_counter(web, client):
    """The value in the reply is 0."""
    assert web.post("/count", headers={"Purpose": "prefetch"}).json == uncounted(0, "prefetch")
    assert contents(client) == {}


@pytest.mark.parametrize(
    "headers", [{"Idempotency-Key": "a b"}, {"Accept": ";;"}, {"Host": "a b"}], ids=str
)
def test_malformed_prefetch_is_an_error(web, client, headers):
    """The reply to a prefetch is the same as to the visit after it."""
    problem(web.get("/count", headers={"Sec-Purpose": "prefetch", **headers}), 400)
    assert contents(client) == {}


@pytest.mark.parametrize(("method", "path"), HITS)
def test_ignored_crawler_gets_the_current_value(service, client, method, path):
    """With COUNTER_IGNORE_BOTS; other visitors count, on every route."""
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


def test_crawler_counts_by_default(web, client):
    """Without COUNTER_IGNORE_BOTS."""
    assert web.post("/count", headers={"User-Agent": GOOGLEBOT}).json["counted"] is True
    assert client.get(KEY) == b"1"


def test_reload_gets_the_current_value(service, client):
    """Another visitor counts, and so does a program with idempotency keys."""
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
def test_reload_of_a_page_with_a_script_does_not_count(service, client, path):
    """Its script sends a new idempotency key with each load."""
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
    """By COUNTER_VISITOR_WINDOW."""
    page = service(COUNTER_VISITOR_WINDOW=seconds).get("/count", headers=BROWSER)
    assert "Your visit was counted" in page.text
    assert ("A reload counts again" in page.text) == (seconds == 0)


def test_visitor_with_dnt_counts_each_time(service, client):
    """The visitor window needs an identity, which is not stored after `DNT: 1`."""
    web = service(COUNTER_VISITOR_WINDOW=60)
    values = [hit(web, DNT="1")["value"] for _ in range(2)]
    assert values == [1, 2]
    assert f"{KEY}:seen".encode() not in contents(client)


@pytest.mark.parametrize("opt_out", [True, False])
@pytest.mark.parametrize("wish", [{"DNT": "1"}, {"Sec_GPC": "1"}])
def test_visitor_that_opts_out_counts_without_being_unique(service, client, wish, opt_out):
    """Unless COUNTER_RESPECT_DNT=false."""
    web = service(COUNTER_RESPECT_DNT=opt_out)
    hit(web)
    hit(web, User_Agent="another", **wish)
    assert today(web) == (2, 1 if opt_out else 2)
    assert client.get(KEY) == b"2"


def test_disabled_visitors_leave_no_keys(service, client):
    """With COUNTER_VISITORS=false nothing about visitors is stored."""
    web = service(COUNTER_VISITORS=False)
    hit(web)
    hit(web, User_Agent="another")
    assert today(web) == (2, 0)
    assert not [key for key in contents(client) if b":visitors" in key or b":salt" in key]


def test_store_contains_neither_address_nor_user_agent(web, client):
    """Only a salted hash of both goes into the estimate."""
    hit(web, peer="203.0.113.7", User_Agent="some-agent")
    assert today(web) == (1, 1)
    stored = b" ".join(key + value for key, value in contents(client).items())
    assert b"203.0.113" not in stored
    assert b"some-agent" not in stored


def test_trusted_proxy_names_the_visitor(service, client):
    """By the entry that it appended on the right of X-Forwarded-For."""
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


def test_port_in_forwarded_for_is_ignored(service):
    """It differs with each connection of the same visitor."""
    web = service(COUNTER_TRUSTED_PROXIES="10.0.0.1")
    for forwarded in ("203.0.113.7:4711", "203.0.113.7:4712", "203.0.113.7"):
        hit(web, peer="10.0.0.1", X_Forwarded_For=forwarded)
    for forwarded in ("[2001:db8::7]:4711", "[2001:db8::7]", "2001:db8::7"):
        hit(web, peer="10.0.0.1", X_Forwarded_For=forwarded)
    assert today(web) == (6, 2)


@pytest.mark.parametrize(
    ("peer", "header", "scheme"),
    [("10.0.0.1", "https", "https"), ("10.0.0.1", "HTTPS", "https"), ("10.0.0.1", "http", "http"),
     ("10.0.0.1", "http, https", "https"), ("10.0.0.1", "https, http", "http"),
     # Invalid values, and an untrusted peer.
     ("10.0.0.1", "", "http"), ("10.0.0.1", "javascript", "http"), ("10.0.0.1", "\xff", "http"),
     ("10.0.0.2", "https", "http")],
)  # fmt: skip
def test_trusted_proxy_sets_the_scheme_of_links(service, peer, header, scheme):
    """X-Forwarded-Host and Forwarded are ignored."""
    web = service(COUNTER_TRUSTED_PROXIES="10.0.0.1")
    headers = {"Host": "counter.example.org", "X-Forwarded-Proto": header, **BROWSER,
               "X-Forwarded-Host": "evil.example", "X-Forwarded-Port": "81",
               "X-Forwarded-Prefix": "//evil", "Forwarded": "host=evil.example"}  # fmt: skip
    for path in ("/snippet", "/"):
        page = web.get(path, headers=headers, environ_overrides={"REMOTE_ADDR": peer}).text
        assert "evil" not in page
        shown = re.findall(r"\w+://(?=counter\.example\.org/)", page)
        assert set(shown) == {f"{scheme}://"}


def test_forwarded_proto_is_ignored_without_trusted_proxies(web):
    """Any client may send the header."""
    page = web.get("/snippet", headers={"X-Forwarded-Proto": "https", "Host": "a.example"}).text
    assert "http://a.example/" in page
    assert "https://a.example" not in page


def test_untrusted_proxy_is_the_visitor(service, client):
    """Whatever headers it sends."""
    web = service(COUNTER_TRUSTED_PROXIES="10.0.0.1")
    for forwarded in ("203.0.113.7", "203.0.113.8", "10.0.0.1"):
        hit(web, peer="10.0.0.2", X_Forwarded_For=forwarded)
    assert today(web) == (3, 1)


def test_no_proxy_is_trusted_by_default(web):
    """Not even one on the same machine."""
    for forwarded in ("203.0.113.7", "203.0.113.8"):
        hit(web, X_Forwarded_For=forwarded)
    assert today(web) == (2, 1)


def test_visitor_window_behind_a_proxy(service, client):
    """A forged entry makes no new visitor; two visitors of one proxy both count."""
    web = service(COUNTER_TRUSTED_PROXIES="10.0.0.1", COUNTER_VISITOR_WINDOW=60)
    first = {"peer": "10.0.0.1", "X_Forwarded_For": "203.0.113.7"}
    forged = {"peer": "10.0.0.1", "X_Forwarded_For": "198.51.100.1, 203.0.113.7"}
    other = {"peer": "10.0.0.1", "X_Forwarded_For": "203.0.113.8"}
    counted = [hit(web, **who)["counted"] for who in (first, forged, other)]
    assert counted == [True, False, True]
    assert client.get(KEY) == b"2"


HOSTS = "example.org, .Example.NET, stack_web, last.dot., Bücher.example, 10.0.0.7, ::1"


@pytest.mark.parametrize(
    "host", ["example.org", "example.org:5000", "EXAMPLE.org", "example.net", "a.b.example.net",
             "example.org.", "stack_web:5000", "last.dot", "xn--bcher-kva.example", "10.0.0.7:80",
             "[::1]:5000", "[0:0::1]"],
)  # fmt: skip
def test_trusted_host_is_accepted(service, client, host):
    """With any port, in upper or lower case."""
    web = service(COUNTER_TRUSTED_HOSTS=HOSTS)
    assert web.get("/count", headers={"Host": host}).json["value"] == 1


@pytest.mark.parametrize(
    "host", ["evil.example", "a.example.org", "example.org.evil.example", "xexample.net", "",
             "example.org@evil.example", "localhost", "example.org,evil.example",
             "bücher.example", "net", "[::2]", "10.0.0.70"],
)  # fmt: skip
@pytest.mark.parametrize(("method", "path"), [*HITS, ("GET", "/counters/visits"), ("GET", "/")])
def test_untrusted_host_is_rejected(service, client, method, path, host):
    """With 400 on every route of counters, and nothing is counted."""
    web = service(COUNTER_TRUSTED_HOSTS=HOSTS)
    answer = web.open(path, method=method, headers={"Host": host})
    assert "Host" in problem(answer, 400)["detail"]
    assert contents(client) == {}


def test_health_accepts_any_host(service):
    """A load balancer sends an address."""
    web = service(COUNTER_TRUSTED_HOSTS=HOSTS)
    assert web.get("/readyz", headers={"Host": "10.0.0.1:5000"}).status_code == 200


@pytest.mark.parametrize(("method", "path"), HITS)
def test_client_over_the_rate_limit_gets_429(service, client, method, path):
    """With Retry-After, and not counted. Other clients count, and reads work."""
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


def test_rate_limit_behind_a_proxy(service, client):
    """Each client of the proxy has a limit of its own; a forged entry does not evade it."""
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
def test_rate_limit_applies_to_an_ipv6_network(service, client, method, path):
    """Its addresses share a limit; another network has a limit of its own."""
    web = service(COUNTER_RATE_LIMIT="5/60")
    for address in [f"2001:db8::{number:x}" for number in range(20)] + ["2001:db8:0:1::1"]:
        web.open(path, method=method, environ_overrides={"REMOTE_ADDR": address})
    assert client.get(KEY) == b"6"
    counted = [
        web.open(path, method=method, environ_overrides={"REMOTE_ADDR": address}).status_code
        for address in ["192.0.2.1"] * 3 + ["::ffff:192.0.2.1"] * 3
    ]
    assert counted == [200] * 5 + [429]
