"""What the service answers, on real stores."""

import pytest
from flask import Flask
from werkzeug.test import Client, EnvironBuilder, TestResponse, run_wsgi_app

from flask_redis_counter import AsyncRedisCounter, OutcomeUnknownError, RedisCounter, create_app
from flask_redis_counter.web import request_log

from .openapi_client import DescribedClient
from .rsgi import as_wsgi
from .support import BROWSER, KEY, MAX, nowhere, problem

COUNTERS = (RedisCounter, AsyncRedisCounter)

#: Hosts that a service is reached under: by Compose, Swarm, an address, an international name.
WELL_FORMED = [
    "stack_web:5000", "_x.example", "example.org.", "example.org.:8080", "EXAMPLE.org:80", "a:",
    "xn--bcher-kva.example", "xn--aaa", "10.0.0.7:65535", "[::1]:5000", "[2001:db8::7]",
]  # fmt: skip
MALFORMED = [
    "", "a b", "<x>", "a,a", "a/b", "u@a", "..", "a..b", ".a", "a..", "a:b", "a:0", "a:080",
    "a:65536", "a:99999", "::1", "[::1", "[::1%eth0]", "[a]", "bücher.example", "x" * 64,
]  # fmt: skip


def ask(application, **request):
    """Send a request, not by Werkzeug's client, which looks at the host itself."""
    environ = EnvironBuilder(**request).get_environ()
    body, status, headers = run_wsgi_app(application, environ, buffered=True)
    return TestResponse(body, status, headers, environ)


def test_a_program_gets_json(web, client):
    """GET and POST count and answer name, value and counted."""
    for value, method in enumerate([web.get, web.post, web.get], start=1):
        response = method("/count")
        assert response.status_code == 200
        assert response.mimetype == "application/json"
        assert response.json == {"name": "visits", "value": value, "counted": True}
        assert response.headers["Cache-Control"] == "no-store"
        assert "Accept" in response.headers["Vary"]
    assert client.get(KEY) == b"3"


def test_text_on_request(web):
    """`text/plain` is the bare number."""
    response = web.get("/count", headers={"Accept": "text/plain"})
    assert (response.mimetype, response.text) == ("text/plain", "1\n")
    assert response.headers["Cache-Control"] == "no-store"


def test_a_browser_gets_a_page(web):
    """The page shows the value with its thousands apart."""
    web.application.extensions["redis_counter"].counter.set("visits", 41336)
    response = web.get("/count", headers=BROWSER)
    assert response.mimetype == "text/html"
    assert "41,337" in response.text
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_what_never_counts(web, client, method):
    """HEAD reads and OPTIONS asks; neither leaves a trace in the store."""
    response = web.open("/count", method=method)
    assert response.status_code == 200
    assert response.text == ""
    assert client.dbsize() == 0


def test_the_welcome_page_of_a_broken_count(web, client):
    """It has no number, and does not say that the store is away: it is there."""
    client.set(KEY, "text")
    page = web.get("/", headers=BROWSER)
    assert page.status_code == 200
    assert "holds no valid number" in page.text
    assert "is away" not in page.text


def test_the_welcome_page(web, client):
    """It shows the number, and does not count; at first it says where to begin."""
    assert "No visits yet" in web.get("/").text
    web.get("/count")
    response = web.get("/")
    assert "No visits yet" not in response.text
    assert response.status_code == 200
    assert response.mimetype == "text/html"
    assert "HAProxy" not in response.text, "it shows how another deployment runs"
    assert "visit so far" in response.text
    assert client.get(KEY) == b"1"


@pytest.mark.parametrize("file", ["img/icon.svg", "style.css"])
def test_what_the_pages_use_is_there(web, file):
    """Every static file that a page names is served."""
    with web.get(f"/static/{file}") as response:
        assert response.status_code == 200


def test_reading_a_counter(web, client):
    """GET /counters/NAME reads, and says 404 where there is none."""
    web.post("/count")
    assert web.get("/counters/visits").json == {"name": "visits", "value": 1, "counted": False}
    assert "none" in problem(web.get("/counters/none"), 404)["detail"]
    assert client.keys("*none*") == []


def test_another_counter_behind_count(server, client):
    """COUNTER_NAME and COUNTER_PREFIX say which key counts."""
    config = {"REDIS_URL": server.url, "COUNTER_NAME": "front.page", "COUNTER_PREFIX": "site:"}
    web = create_app(config).test_client()
    assert web.get("/count").json["name"] == "front.page"
    assert client.get("site:{front.page}") == b"1"


def test_store_away(web_alone):
    """`/` answers; `/count` says 503, when to come back, and that nothing was counted."""
    assert web_alone.get("/").status_code == 200
    for response in (web_alone.get("/count"), web_alone.post("/count")):
        assert problem(response, 503)["counted"] is False
        assert response.headers["Retry-After"] == "1"
        assert response.headers["Cache-Control"] == "no-store"
    page = web_alone.get("/count", headers=BROWSER)
    assert page.status_code == 503
    assert page.mimetype == "text/html"
    assert "not counted" in page.text
    assert web_alone.head("/count").status_code == 503


def test_health(web, web_alone):
    """`/healthz` never asks the store, `/readyz` does."""
    assert web.get("/healthz").status_code == 200
    assert web.get("/readyz").json == {"status": "ready"}
    assert web_alone.get("/healthz").status_code == 200
    response = web_alone.get("/readyz")
    problem(response, 503)
    assert response.headers["Retry-After"] == "1"


@pytest.mark.parametrize("path", ["/nope", "/count/", "/counters/", "/counters/a/b", "/../x",
                                  "/counters//hits", "/counters//visits"])  # fmt: skip
def test_an_unknown_route(web, path):
    """404, as a problem."""
    problem(web.get(path), 404)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "BREW"])
def test_an_unknown_verb(web, client, method):
    """405, with the verbs that are allowed, and nothing counted."""
    response = web.open("/count", method=method)
    problem(response, 405)
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}
    assert client.dbsize() == 0


@pytest.mark.parametrize("name", ["a%20b", "x" * 65, "%C3%BC", "a{b}", "%00"])
def test_a_name_outside_the_rules(web, name):
    """400, and the rules."""
    assert "1 to 64 characters" in problem(web.get(f"/counters/{name}"), 400)["detail"]


def test_a_huge_body(web, client):
    """413, and nothing counted; a small one is read and ignored."""
    problem(web.post("/count", data=b"x" * 65537), 413)
    assert client.dbsize() == 0
    assert web.post("/count", data=b"x" * 65536).json["value"] == 1


def test_a_body_of_unknown_length(web, client):
    """`/count` ignores it, as it does any other."""
    assert web.post("/count", headers={"Transfer-Encoding": "chunked"}).json["value"] == 1
    assert client.get(KEY) == b"1"


@pytest.mark.parametrize("host", WELL_FORMED)
@pytest.mark.parametrize("path", ["/count", "/counters/visits", "/snippet", "/"])
def test_a_host_of_real_life(server, client, path, host):
    """Underscores, an international name, the root's dot and any port are served and shown."""
    client.set(KEY, 6)
    app = create_app({"REDIS_URL": server.url})
    for application in (as_wsgi(app), app):
        page = ask(application, path=path, headers={"Host": host, **BROWSER})
        assert page.status_code == 200
        shown = f"http://{host.lower().removesuffix(':80')}/"
        assert path not in ("/snippet", "/") or shown in page.text


@pytest.mark.parametrize("host", MALFORMED)
def test_a_malformed_host(server, client, host):
    """400, and nothing counted."""
    app = create_app({"REDIS_URL": server.url})
    for application in (as_wsgi(app), app):
        answer = ask(application, path="/count", headers={"Host": host})
        assert "Host" in problem(answer, 400)["detail"]
    assert client.dbsize() == 0


@pytest.mark.parametrize(("accept", "status"), [(";;", 400), ("x" * 2000, 400), ("image/png", 406)])
def test_an_accept_header_that_cannot_be_met(web, client, accept, status):
    """A 4xx that names the header, before anything is counted."""
    assert "Accept" in problem(web.get("/count", headers={"Accept": accept}), status)["detail"]
    assert client.dbsize() == 0


def test_a_key_that_is_no_integer(web, client, caplog):
    """500, logged, and the key untouched."""
    client.set(KEY, "abc")
    assert problem(web.get("/count"), 500)["counted"] is False
    assert KEY in caplog.text
    assert client.get(KEY) == b"abc"


def test_the_largest_value(web, client):
    """409: the counter cannot go further; it does not wrap."""
    client.set(KEY, MAX)
    assert problem(web.get("/count"), 409)["counted"] is False
    assert client.get(KEY) == b"9223372036854775807"


def test_a_full_store(web, client):
    """503, not counted."""
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)
    try:
        assert problem(web.get("/count"), 503)["counted"] is False
    finally:
        client.config_set("maxmemory", 0)
    assert web.get("/count").json["value"] == 1


def test_a_bug_is_logged_and_not_shown(web, monkeypatch, caplog):
    """A failure that nobody foresaw: a 500 problem, the traceback in the log alone."""
    for counter in COUNTERS:
        monkeypatch.setattr(counter, "hit", lambda *_, **__: 1 / 0)
    problem(web.get("/count"), 500)
    assert "ZeroDivisionError" in caplog.text


def test_a_failed_hit_is_sent_once(web, monkeypatch):
    """Whatever answers the error, it does not count once more."""
    sent = []

    def hit(counter, name, amount=1, **_):
        sent.append(name)
        raise OutcomeUnknownError("no answer")

    for counter in COUNTERS:
        monkeypatch.setattr(counter, "hit", hit)
    assert problem(web.get("/count"), 503)["counted"] == "unknown"
    assert sent == ["visits"]


def test_hits_of_a_named_counter(web, client):
    """POST counts, an amount at once, and makes the counter."""
    assert web.post("/counters/orders/hits").json == {
        "name": "orders", "value": 1, "counted": True
    }  # fmt: skip
    assert web.post("/counters/orders/hits?amount=41").json["value"] == 42
    assert client.get("counter:{orders}") == b"42"
    problem(web.get("/counters/orders/hits"), 405)


@pytest.mark.parametrize(
    "query", ["amount=0", "amount=-1", "amount=1.5", "amount=", "amount=9223372036854775808",
              "amount=1&amount=1", "amount=1_0", "amount=%D9%A1"],
)  # fmt: skip
def test_an_amount_out_of_bounds(web, client, query):
    """400, and nothing counted."""
    assert "out of bounds" in problem(web.post(f"/counters/orders/hits?{query}"), 400)["detail"]
    assert client.dbsize() == 0


KEYS = ['"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"]


@pytest.mark.parametrize("path", ["/count", "/counters/orders/hits"])
@pytest.mark.parametrize("key", [*KEYS, '"with \\"quotes\\" and spaces"', '"' + "x" * 255 + '"'])
def test_the_same_key_counts_once(web, client, path, key):
    """The same answer again, and a header that says so."""
    first = web.post(path, headers={"Idempotency-Key": key})
    again = web.post(path, headers={"Idempotency-Key": key})
    other = web.post(path, headers={"Idempotency-Key": '"another"'})
    assert first.json == again.json
    assert [answer.json["value"] for answer in (first, again, other)] == [1, 1, 2]
    replayed = [answer.headers.get("Idempotent-Replayed") for answer in (first, again, other)]
    assert replayed == [None, "true", None]


def test_a_key_with_quotes_and_without_is_the_same(web):
    """Both spellings stand for one token."""
    values = [web.post("/count", headers={"Idempotency-Key": key}).json["value"] for key in KEYS]
    assert values == [1, 1]


def test_the_same_key_with_another_amount(web, client):
    """422, and nothing counted."""
    headers = {"Idempotency-Key": '"k"'}
    assert web.post("/counters/orders/hits?amount=3", headers=headers).json["value"] == 3
    response = web.post("/counters/orders/hits?amount=4", headers=headers)
    assert problem(response, 422)["counted"] is False
    assert "amount 3" in response.json["detail"]
    assert client.get("counter:{orders}") == b"3"


def test_an_unknown_outcome_without_a_key_is_not_to_be_repeated(web_alone, monkeypatch):
    """Who obeyed a Retry-After might count twice; with a key, repeating is what settles it."""
    keyed = web_alone.post("/count", headers={"Idempotency-Key": '"k"'})
    assert problem(keyed, 503)["counted"] == "unknown"
    assert keyed.headers["Retry-After"] == "1"
    unsent = web_alone.post("/count")
    assert problem(unsent, 503)["counted"] is False
    assert unsent.headers["Retry-After"] == "1"
    for counter in COUNTERS:
        monkeypatch.setattr(counter, "hit", unanswered)
    unanswered_hit = web_alone.post("/count")
    assert problem(unanswered_hit, 503)["counted"] == "unknown"
    assert "Retry-After" not in unanswered_hit.headers


@pytest.mark.parametrize("query", ["utm_source=x", "v=2&v=3", "amout=3", "%ff&=&&"])
@pytest.mark.parametrize("headers", [{}, BROWSER])
def test_a_count_with_a_query_of_somebody_else(web, client, query, headers):
    """`/count` is a page as well: a link to it gets parameters from newsletters, and counts."""
    assert web.get("/count", query_string=query, headers=headers).status_code == 200
    assert client.get(KEY) == b"1"


def unanswered(*_, **__):
    """Be a hit that nobody answers, for threads and for asyncio."""
    raise OutcomeUnknownError("no answer")


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/count", {"query_string": "amount=3"}),
        ("/counters/visits/hits", {"query_string": "amout=3"}),
        ("/counters/visits/hits", {"query_string": "amount=3&times=2"}),
        ("/counters/visits/hits", {"data": b"amount=3"}),
        ("/counters/visits/hits", {"query_string": "amount=٣"}),
    ],
)
def test_an_amount_in_other_words(web, client, path, options):
    """It is refused, and not counted as one."""
    problem(web.post(path, **options), 400)
    assert client.dbsize() == 0


@pytest.mark.parametrize(
    "key", ["", '""', '"', '"a', "a b", '"a"b"', "a,b", '"\\a"', "ü", "x" * 256, '"a"; x=1']
)
def test_a_malformed_key(web, client, key):
    """400, and nothing counted."""
    response = web.post("/count", headers={"Idempotency-Key": key})
    assert "Idempotency-Key" in problem(response, 400)["detail"]
    assert client.dbsize() == 0


REQUESTS = [
    {},
    {"method": "POST"},
    {"method": "POST", "data": b"ignored"},
    {"method": "HEAD"},
    {"headers": {"Accept": "application/json"}},
    {"headers": {"X-Request-ID": "mine"}},
    {"headers": {"X-Request-ID": "not one"}},
    {"headers": {"Accept": "text/plain"}},
    {"headers": {"Accept": ";;"}},
    {"headers": {"Accept": "image/png"}},
    *({"headers": {"Host": host}} for host in (*WELL_FORMED, *MALFORMED)),
    {"headers": {"Accept": "ü"}},
    {"headers": {"Idempotency-Key": "ü"}},
    {"headers": {"Transfer-Encoding": "chunked"}},
    {"headers": {"Idempotency-Key": '"a"'}},
    {"headers": {"Idempotency-Key": "a b"}},
    {"query_string": "a=b"},
    {"path": "/count/"},
    {"path": "/openapi.json"},
    {"path": "/counters/visits/hits", "method": "POST"},
    {"path": "/counters/visits/hits", "method": "GET"},
    {"path": "/counters/a b/hits", "method": "POST"},
    {"path": "/counters/visits/hits", "method": "POST", "query_string": "amount=3"},
    {
        "path": "/counters/visits/hits",
        "method": "POST",
        "query_string": "amount=9223372036854775807",
    },
    {"path": "/counters/visits/hits", "method": "POST", "query_string": "a=b&amount=3"},
    {"path": "/counters/visits/hits", "method": "POST", "query_string": "amount=0"},
]


@pytest.mark.parametrize("request_", REQUESTS, ids=str)
@pytest.mark.parametrize("state", ["counting", "no integer", "away"])
def test_both_ways_answer_alike(server, client, request_, state, monkeypatch):
    """The fast path's answers are those of Flask's view, byte for byte."""
    monkeypatch.setattr(request_log, "new_request_id", lambda: "made up")
    url = server.url if state != "away" else nowhere()
    answers = []
    app = create_app({"REDIS_URL": url})
    for application in (as_wsgi(app), app):
        client.flushall()
        client.set(KEY, "abc" if state == "no integer" else 41)
        environ = EnvironBuilder(**{"path": "/count", **request_}).get_environ()
        body, status, headers = run_wsgi_app(application, environ, buffered=True)
        answers.append((int(status[:3]), list(headers), b"".join(body), client.get(KEY)))
    assert answers[0] == answers[1]


@pytest.mark.skipif("TRUSTED_HOSTS" not in Flask.default_config, reason="Flask has it from 3.1 on")
def test_the_fast_path_leaves_trust_to_flask(server, client):
    """Where the app says which hosts it serves, nothing goes past that."""
    app = create_app({"REDIS_URL": server.url, "TRUSTED_HOSTS": ["good.example"]})
    web = DescribedClient(as_wsgi(app), app.response_class)
    problem(web.get("/count", headers={"Host": "evil.example"}), 400)
    assert web.get("/count", headers={"Host": "good.example"}).json["value"] == 1


def test_the_fast_path_keeps_off_flask(server, client, monkeypatch):
    """It answers a program's visit without Flask's dispatch, and nothing else."""
    app = create_app({"REDIS_URL": server.url})
    monkeypatch.setattr(app, "dispatch_request", lambda: "from flask")
    web = Client(as_wsgi(app), app.response_class)
    assert web.get("/count").json["value"] == 1
    assert web.get("/count", headers=BROWSER).text == "from flask"
    assert web.get("/count", headers={"Accept": "text/plain"}).text == "from flask"
    assert web.get("/healthz").text == "from flask"
    assert client.get(KEY) == b"1"
