"""HTTP behaviour of the service, on real stores."""

import pytest
from flask import Flask
from werkzeug.test import Client, EnvironBuilder, TestResponse, run_wsgi_app

from flask_redis_counter import (
    AsyncRedisCounter,
    CounterError,
    OutcomeUnknownError,
    RedisCounter,
    create_app,
)
from flask_redis_counter.counting.hit import PendingHit
from flask_redis_counter.web import request_log

from .openapi_client import DescribedClient
from .support import BROWSER, KEY, MAX, nowhere, problem
from .wire import as_wsgi


def fail_hits(monkeypatch, error):
    """Let all hits of the service fail; return the list of the counters that were hit."""
    names = []

    def hit(_, name, *__, **___):
        names.append(name)
        raise error

    def submit(_, name, *arguments):
        names.append(name)
        if not isinstance(error, CounterError):
            raise error
        pending = PendingHit(name, 1, None)
        pending.error = error
        arguments[-1](pending)

    monkeypatch.setattr(RedisCounter, "hit", hit)
    monkeypatch.setattr(AsyncRedisCounter, "submit", submit)
    return names


#: Hosts as clients send them: of Compose, Swarm, an address, an international name.
WELL_FORMED = [
    "stack_web:5000", "_x.example", "example.org.", "example.org.:8080", "EXAMPLE.org:80", "a:",
    "xn--bcher-kva.example", "xn--aaa", "10.0.0.7:65535", "[::1]:5000", "[2001:db8::7]",
]  # fmt: skip
MALFORMED = [
    "", "a b", "<x>", "a,a", "a/b", "u@a", "..", "a..b", ".a", "a..", "a:b", "a:0", "a:080",
    "a:65536", "a:99999", "::1", "[::1", "[::1%eth0]", "[a]", "bücher.example", "x" * 64,
]  # fmt: skip


def send_raw(application, **options):
    """Send a request without Werkzeug's client, which checks the host itself."""
    environ = EnvironBuilder(**options).get_environ()
    body, status, headers = run_wsgi_app(application, environ, buffered=True)
    return TestResponse(body, status, headers, environ)


def test_count_as_json(web, client):
    """GET and POST count, and return name, value and counted."""
    for value, method in enumerate([web.get, web.post, web.get], start=1):
        response = method("/count")
        assert response.status_code == 200
        assert response.mimetype == "application/json"
        assert response.json == {"name": "visits", "value": value, "counted": True}
        assert response.headers["Cache-Control"] == "no-store"
        assert "Accept" in response.headers["Vary"]
    assert client.get(KEY) == b"3"


def test_count_as_text(web):
    """`text/plain` is the bare number."""
    response = web.get("/count", headers={"Accept": "text/plain"})
    assert (response.mimetype, response.text) == ("text/plain", "1\n")
    assert response.headers["Cache-Control"] == "no-store"


def test_count_as_html(web):
    """The page shows the value with thousands separators."""
    web.application.extensions["redis_counter"].counter.set("visits", 41336)
    response = web.get("/count", headers=BROWSER)
    assert response.mimetype == "text/html"
    assert "41,337" in response.text
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_head_and_options_do_not_count(web, client, method):
    """HEAD and OPTIONS do not count, and write nothing to the store."""
    response = web.open("/count", method=method)
    assert response.status_code == 200
    assert response.text == ""
    assert client.dbsize() == 0


def test_welcome_page_of_a_non_integer(web, client):
    """The welcome page shows no number, and does not claim that the store is away."""
    client.set(KEY, "text")
    page = web.get("/", headers=BROWSER)
    assert page.status_code == 200
    assert "holds no valid number" in page.text
    assert "is away" not in page.text


def test_welcome_page(web, client):
    """The welcome page shows the number without counting, and first steps before the first hit."""
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
def test_static_files_are_served(web, file):
    """Every static file that a page names is served."""
    with web.get(f"/static/{file}") as response:
        assert response.status_code == 200


def test_read_a_counter(web, client):
    """GET /counters/NAME reads, and is a 404 if the counter does not exist."""
    web.post("/count")
    assert web.get("/counters/visits").json == {"name": "visits", "value": 1, "counted": False}
    assert "none" in problem(web.get("/counters/none"), 404)["detail"]
    assert client.keys("*none*") == []


def test_count_with_name_and_prefix(server, client):
    """COUNTER_NAME and COUNTER_PREFIX set the key that `/count` uses."""
    config = {"REDIS_URL": server.url, "COUNTER_NAME": "front.page", "COUNTER_PREFIX": "site:"}
    web = create_app(config).test_client()
    assert web.get("/count").json["name"] == "front.page"
    assert client.get("site:{front.page}") == b"1"


def test_store_outage(web_alone):
    """`/` is served; `/count` is a 503 with Retry-After, and says that nothing was counted."""
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
def test_unknown_route(web, path):
    """An unknown route is a 404 problem."""
    problem(web.get(path), 404)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_unsupported_method(web, client, method):
    """An unsupported method is a 405 with the allowed methods, and nothing is counted."""
    response = web.open("/count", method=method)
    problem(response, 405)
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}
    assert client.dbsize() == 0


@pytest.mark.parametrize("name", ["a%20b", "x" * 65, "%C3%BC", "a{b}", "%00"])
def test_invalid_name(web, name):
    """An invalid name is a 400 with the rules."""
    assert "1 to 64 characters" in problem(web.get(f"/counters/{name}"), 400)["detail"]


def test_too_large_body(web, client):
    """A too large body is a 413, and nothing is counted; a small one is ignored."""
    problem(web.post("/count", data=b"x" * 65537), 413)
    assert client.dbsize() == 0
    assert web.post("/count", data=b"x" * 65536).json["value"] == 1


def test_count_ignores_a_body_of_unknown_length(web, client):
    """`/count` ignores a body of unknown length, as any other."""
    assert web.post("/count", headers={"Transfer-Encoding": "chunked"}).json["value"] == 1
    assert client.get(KEY) == b"1"


@pytest.mark.parametrize("host", WELL_FORMED)
@pytest.mark.parametrize("path", ["/count", "/counters/visits", "/snippet", "/"])
def test_valid_host(server, client, path, host):
    """Hosts with underscores, punycode, a trailing dot or any port are served and shown."""
    client.set(KEY, 6)
    app = create_app({"REDIS_URL": server.url})
    for application in (as_wsgi(app), app):
        page = send_raw(application, path=path, headers={"Host": host, **BROWSER})
        assert page.status_code == 200
        shown = f"http://{host.lower().removesuffix(':80')}/"
        assert path not in ("/snippet", "/") or shown in page.text


@pytest.mark.parametrize("host", MALFORMED)
def test_malformed_host(server, client, host):
    """A malformed host is a 400, and nothing is counted."""
    app = create_app({"REDIS_URL": server.url})
    for application in (as_wsgi(app), app):
        answer = send_raw(application, path="/count", headers={"Host": host})
        assert "Host" in problem(answer, 400)["detail"]
    assert client.dbsize() == 0


@pytest.mark.parametrize(("accept", "status"), [(";;", 400), ("x" * 2000, 400), ("image/png", 406)])
def test_unacceptable_accept_header(web, client, accept, status):
    """An Accept header that cannot be met is a 4xx with its name, and nothing is counted."""
    assert "Accept" in problem(web.get("/count", headers={"Accept": accept}), status)["detail"]
    assert client.dbsize() == 0


def test_count_on_a_non_integer(web, client, caplog):
    """A key that is not an integer is a logged 500, and the key stays."""
    client.set(KEY, "abc")
    assert problem(web.get("/count"), 500)["counted"] is False
    assert KEY in caplog.text
    assert client.get(KEY) == b"abc"


def test_largest_value(web, client):
    """A hit at the largest value is a 409; the counter does not wrap."""
    client.set(KEY, MAX)
    assert problem(web.get("/count"), 409)["counted"] is False
    assert client.get(KEY) == b"9223372036854775807"


def test_full_store(web, client):
    """A hit on a full store is a 503, and is not counted."""
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)
    try:
        assert problem(web.get("/count"), 503)["counted"] is False
    finally:
        client.config_set("maxmemory", 0)
    assert web.get("/count").json["value"] == 1


def test_a_bug_is_logged_and_not_shown(web, monkeypatch, caplog):
    """An unexpected exception is a 500 problem; its traceback is only in the log."""
    fail_hits(monkeypatch, ZeroDivisionError())
    problem(web.get("/count"), 500)
    assert "ZeroDivisionError" in caplog.text


def test_failed_hit_is_sent_once(web, monkeypatch):
    """A failed hit is not counted again by the error handling."""
    sent = fail_hits(monkeypatch, OutcomeUnknownError("no answer"))
    assert problem(web.get("/count"), 503)["counted"] == "unknown"
    assert sent == ["visits"]


def test_named_hit(web, client):
    """POST on a named counter adds an amount, and creates the counter."""
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
def test_amount_out_of_bounds(web, client, query):
    """An amount out of bounds is a 400, and nothing is counted."""
    assert "out of bounds" in problem(web.post(f"/counters/orders/hits?{query}"), 400)["detail"]
    assert client.dbsize() == 0


KEYS = ['"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"]


@pytest.mark.parametrize("path", ["/count", "/counters/orders/hits"])
@pytest.mark.parametrize("key", [*KEYS, '"with \\"quotes\\" and spaces"', '"' + "x" * 255 + '"'])
def test_same_key_counts_once(web, client, path, key):
    """A repeated key gets the same response with Idempotent-Replayed."""
    first = web.post(path, headers={"Idempotency-Key": key})
    again = web.post(path, headers={"Idempotency-Key": key})
    other = web.post(path, headers={"Idempotency-Key": '"another"'})
    assert first.json == again.json
    assert [answer.json["value"] for answer in (first, again, other)] == [1, 1, 2]
    replayed = [answer.headers.get("Idempotent-Replayed") for answer in (first, again, other)]
    assert replayed == [None, "true", None]


def test_key_with_and_without_quotes(web):
    """A key with quotes and without them is the same key."""
    values = [web.post("/count", headers={"Idempotency-Key": key}).json["value"] for key in KEYS]
    assert values == [1, 1]


def test_same_key_with_another_amount(web, client):
    """The same key with another amount is a 422, and nothing is counted."""
    headers = {"Idempotency-Key": '"k"'}
    assert web.post("/counters/orders/hits?amount=3", headers=headers).json["value"] == 3
    response = web.post("/counters/orders/hits?amount=4", headers=headers)
    assert problem(response, 422)["counted"] is False
    assert "amount 3" in response.json["detail"]
    assert client.get("counter:{orders}") == b"3"


def test_unknown_outcome_has_retry_after_only_with_a_key(web_alone, monkeypatch):
    """An unknown outcome has Retry-After only with a key: a retry without one could count twice."""
    keyed = web_alone.post("/count", headers={"Idempotency-Key": '"k"'})
    assert problem(keyed, 503)["counted"] == "unknown"
    assert keyed.headers["Retry-After"] == "1"
    unsent = web_alone.post("/count")
    assert problem(unsent, 503)["counted"] is False
    assert unsent.headers["Retry-After"] == "1"
    fail_hits(monkeypatch, OutcomeUnknownError("no answer"))
    unanswered_hit = web_alone.post("/count")
    assert problem(unanswered_hit, 503)["counted"] == "unknown"
    assert "Retry-After" not in unanswered_hit.headers


@pytest.mark.parametrize("query", ["utm_source=x", "v=2&v=3", "amout=3", "%ff&=&&"])
@pytest.mark.parametrize("headers", [{}, BROWSER])
def test_count_ignores_foreign_parameters(web, client, query, headers):
    """`/count` ignores foreign parameters, e.g. those of newsletters, and counts."""
    assert web.get("/count", query_string=query, headers=headers).status_code == 200
    assert client.get(KEY) == b"1"


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
def test_misspelt_amount(web, client, path, options):
    """A misspelt amount is rejected, and not counted as 1."""
    problem(web.post(path, **options), 400)
    assert client.dbsize() == 0


@pytest.mark.parametrize(
    "key", ["", '""', '"', '"a', "a b", '"a"b"', "a,b", '"\\a"', "ü", "x" * 256, '"a"; x=1']
)
def test_malformed_key(web, client, key):
    """A malformed key is a 400, and nothing is counted."""
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
    {"path": "/counters/visits"},
    {"path": "/counters/visits", "method": "HEAD"},
    {"path": "/counters/visits", "headers": {"Accept": "text/plain"}},
    {"path": "/counters/visits", "headers": {"Accept": "image/svg+xml"}},
    {"path": "/counters/visits", "headers": BROWSER},
    {"path": "/counters/visits", "headers": {"Accept": ";;"}},
    {"path": "/counters/visits", "headers": {"Host": "a..b"}},
    {"path": "/counters/visits", "headers": {"If-None-Match": "*"}},
    {"path": "/counters/visits", "headers": {"If-Match": '"a"'}},
    {"path": "/counters/visits", "headers": {"X-Request-ID": "mine"}},
    {"path": "/counters/visits", "query_string": "a=b"},
    {"path": "/counters/visits", "data": b"ignored"},
    {"path": "/counters/visits.json"},
    {"path": "/counters/visits.json", "headers": BROWSER},
    {"path": "/counters/visits.txt"},
    {"path": "/counters/visits.svg"},
    {"path": "/counters/missing"},
    {"path": "/counters/missing.txt"},
    {"path": "/counters/a b"},
    {"path": "/counters/.."},
]


@pytest.mark.parametrize("request_", REQUESTS, ids=str)
@pytest.mark.parametrize("state", ["counting", "no integer", "away"])
def test_fast_path_and_flask_answer_alike(server, client, request_, state, monkeypatch):
    """The fast path returns the same bytes as Flask's view."""
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
def test_fast_path_is_off_with_trusted_hosts(server, client):
    """The fast path is off if Flask checks the hosts."""
    app = create_app({"REDIS_URL": server.url, "TRUSTED_HOSTS": ["good.example"]})
    web = DescribedClient(as_wsgi(app), app.response_class)
    problem(web.get("/count", headers={"Host": "evil.example"}), 400)
    assert web.get("/count", headers={"Host": "good.example"}).json["value"] == 1


def test_fast_path_bypasses_flask(server, client, monkeypatch):
    """The fast path answers a program's hit without Flask, and no other request."""
    app = create_app({"REDIS_URL": server.url})
    monkeypatch.setattr(app, "dispatch_request", lambda: "from flask")
    web = Client(as_wsgi(app), app.response_class)
    assert web.get("/count").json["value"] == 1
    assert web.get("/count", headers=BROWSER).text == "from flask"
    assert web.get("/count", headers={"Accept": "text/plain"}).text == "from flask"
    assert web.get("/healthz").text == "from flask"
    assert client.get(KEY) == b"1"


@pytest.mark.parametrize("error", [OutcomeUnknownError("no reply"), ZeroDivisionError()], ids=repr)
def test_failed_read_is_left_to_flask(server, client, monkeypatch, error):
    """A read that fails on the fast path is answered by Flask, whatever the error is."""
    client.set(KEY, 41)

    async def values(*_, **__):
        raise error

    monkeypatch.setattr(AsyncRedisCounter, "values", values)
    web = Client(as_wsgi(create_app({"REDIS_URL": server.url})))
    assert web.get("/counters/visits").json["value"] == 41


def test_fast_path_reads_bypass_flask(server, client, monkeypatch):
    """The fast path reads a value for a program without Flask, and nothing else."""
    client.set(KEY, 41)
    app = create_app({"REDIS_URL": server.url})
    monkeypatch.setattr(app, "dispatch_request", lambda: "from flask")
    web = Client(as_wsgi(app), app.response_class)
    assert web.get("/counters/visits").json["value"] == 41
    assert web.get("/counters/visits.txt").text == "41\n"
    for path in ("/counters/missing", "/counters", "/counters/visits?a=b", "/counters/visits.svg"):
        assert web.get(path).text == "from flask"
    assert web.get("/counters/visits", headers=BROWSER).text == "from flask"
    watched = create_app({"REDIS_URL": server.url, "COUNTER_ACCESS_LOG": True})
    monkeypatch.setattr(watched, "dispatch_request", lambda: "from flask")
    assert Client(as_wsgi(watched)).get("/counters/visits").text == "from flask"
