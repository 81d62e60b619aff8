"""Counters by name over HTTP: list, read, hit, set and delete, on real stores."""

from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest

from flask_redis_counter import create_app

from .support import BROWSER, KEY, MAX, contents, problem

ADMIN_KEY = "correct-horse-battery-staple"
ADMIN = {"Authorization": f"Bearer {ADMIN_KEY}"}
READS = ["/counters", "/counters?name=visits", "/counters/visits", "/counters/visits.json",
         "/counters/visits.txt", "/counters/visits/series"]  # fmt: skip


@pytest.fixture
def service(server, client, client_of):
    """Make clients of the service with extra settings, on an empty store."""

    def make(**config):
        return client_of(REDIS_URL=server.url, COUNTER_TIMEOUT=10, **config)

    return make


@pytest.fixture
def admin(service):
    """A client of a service with an admin key."""
    return service(COUNTER_ADMIN_KEY=ADMIN_KEY)


def counters(web):
    """Return the counters of a client's service."""
    return web.application.extensions["redis_counter"].counter


def put(web, name, value, **headers):
    """Set a counter."""
    return web.put(f"/counters/{name}", json={"value": value}, headers=ADMIN | headers)


def test_list_in_pages(web):
    """Each page links to the next one; together they list every counter once."""
    expected = [{"name": f"n{i}", "value": i} for i in range(5)]
    for one in expected:
        counters(web).set(one["name"], one["value"])
    assert web.get("/counters").json == {"counters": expected}
    found, path = [], "/counters?limit=2"
    while path:
        page = web.get(path).json
        assert len(page["counters"]) <= 2
        found += page["counters"]
        path = page.get("next")
    assert found == expected
    assert web.get("/counters?after=n3").json == {"counters": expected[4:]}
    assert web.get("/counters?after=n4&limit=1").json == {"counters": []}


def test_list_without_counters(web, client):
    """The list of an empty store is empty, and creates nothing."""
    assert web.get("/counters").json == {"counters": []}
    assert contents(client) == {}


def test_list_of_named_counters(web):
    """Counters are returned in the order of the query; a missing one is null, not zero."""
    web.post("/counters/b/hits?amount=7")
    web.post("/counters/a/hits")
    assert web.get("/counters?name=b&name=none&name=a").json == {
        "counters": [
            {"name": "b", "value": 7},
            {"name": "none", "value": None},
            {"name": "a", "value": 1},
        ]
    }
    thousand = urlencode([("name", f"n{i}") for i in range(1000)])
    assert len(web.get(f"/counters?{thousand}").json["counters"]) == 1000
    problem(web.get(f"/counters?{thousand}&name=b"), 400)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=1.5", "limit=1&limit=2", "name=a&limit=1",
              "name=a&after=b", "after=a&after=b", "name=", "name=a%20b", "names=a", "page=2"],
)  # fmt: skip
def test_list_rejects_invalid_queries(web, query):
    """An invalid query is a 400: no part of it is ignored."""
    problem(web.get(f"/counters?{query}"), 400)


@pytest.mark.parametrize("what", ["text", "", "1.5", "9223372036854775808", "a list"])
def test_read_of_a_non_integer(web, client, what):
    """Reading is a 500, not a zero; a list marks it and has all others; the key stays."""
    for name in ("a", "visits", "z"):
        web.post(f"/counters/{name}/hits")
    client.delete(KEY)
    client.rpush(KEY, "1") if what == "a list" else client.set(KEY, what)
    before = contents(client)
    problem(web.get("/counters/visits"), 500)
    fine, broken = {"name": "z", "value": 1}, {"name": "visits", "value": None, "broken": True}
    assert web.get("/counters").json["counters"] == [{"name": "a", "value": 1}, broken, fine]
    assert web.get("/counters?name=z&name=visits").json["counters"] == [fine, broken]
    assert contents(client) == before


def test_suffix_selects_the_media_type(web):
    """A suffix wins over Accept: for links, and for programs that set no headers."""
    web.post("/counters/visits/hits?amount=7")
    as_json = web.get("/counters/visits.json", headers=BROWSER)
    assert as_json.json == {"name": "visits", "value": 7, "counted": False}
    as_text = web.get("/counters/visits.txt", headers={"Accept": "application/json"})
    assert (as_text.mimetype, as_text.text) == ("text/plain", "7\n")
    problem(web.get("/counters/none.json"), 404)
    problem(web.get("/counters/a%20b.txt"), 400)


@pytest.mark.parametrize("name", ["data.json", "data.txt", "data.svg", ".json", "a.json.svg"])
def test_name_with_a_suffix_cannot_change(admin, client, name):
    """A name with a suffix cannot be hit, set or deleted: its URL would be ambiguous."""
    counters(admin).set(name, 41)
    before = contents(client)
    answers = [admin.post(f"/counters/{name}/hits"), admin.post(f"/counters/{name}/hits?amount=7"),
               put(admin, name, 7), admin.delete(f"/counters/{name}", headers=ADMIN)]  # fmt: skip
    for answer in answers:
        assert answer.status_code == 400
    for picture in (admin.get(f"/hit/{name}.svg"), admin.head(f"/hit/{name}.svg")):
        assert picture.headers["Counter-Status"] == "400"
    assert name in problem(answers[0], 400)["detail"]
    assert contents(client) == before
    # A counter that the library created is read with another suffix.
    assert admin.get(f"/counters/{name}.json").json["value"] == 41


def test_change_rejects_parameters(admin, client):
    """PUT and DELETE reject parameters: a misunderstood dry run must change nothing."""
    counters(admin).set("orders", 41)
    assert "dry" in problem(put(admin, "orders?dry=1", 7), 400)["detail"]
    problem(admin.delete("/counters/orders?dry=1", headers=ADMIN), 400)
    assert client.get("counter:{orders}") == b"41"


@pytest.mark.parametrize("name", [".", ".."])
def test_name_that_is_a_folder(admin, client, name):
    """ "." and ".." are rejected, because most clients would send another path."""
    for answer in (admin.post(f"/counters/{name}/hits"), put(admin, name, 7)):
        assert "folder" in problem(answer, 400)["detail"]
    assert contents(client) == {}


def test_name_with_almost_a_suffix(admin):
    """Names that almost end in a suffix are ordinary names."""
    for name in ("json", "a.jsonl", "a.html", "a.JSON", "...", ".a", "a.json."):
        assert admin.post(f"/counters/{name}/hits").json["value"] == 1
        assert admin.get(f"/counters/{name}").json["value"] == 1


@pytest.mark.parametrize("path", READS)
def test_if_none_match(web, path):
    """A matching If-None-Match gets a 304 without a body, and a 200 after a change."""
    web.post("/counters/visits/hits")
    first = web.get(path)
    assert first.headers["Cache-Control"] == "no-cache"
    asked = {"If-None-Match": f'"another", {first.headers["ETag"]}'}
    again = web.get(path, headers=asked)
    assert (again.status_code, again.text) == (304, "")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert web.get(path, headers={"If-None-Match": f"W/{first.headers['ETag']}"}).status_code == 304
    assert web.head(path, headers=asked).status_code == 304
    assert web.get(path, headers={"If-None-Match": '"another"'}).text == first.text
    web.post("/counters/visits/hits")
    changed = web.get(path, headers=asked)
    assert changed.status_code == 200
    assert changed.text != first.text
    assert changed.headers["ETag"] != first.headers["ETag"]


def test_etag_of_each_media_type(web):
    """The ETag of the text does not match the JSON document."""
    web.post("/counters/visits/hits")
    accepted = ["application/json", "text/plain", "text/html"]
    answers = [web.get("/counters/visits", headers={"Accept": form}) for form in accepted]
    assert len({answer.headers["ETag"] for answer in answers}) == 3
    assert {answer.headers["Vary"] for answer in answers} == {"Accept"}


@pytest.mark.parametrize("path", READS)
def test_if_match(web, path):
    """If-Match gets the value if it matches, and a 412 otherwise."""
    web.post("/counters/visits/hits")
    for tag in ("*", web.get(path).headers["ETag"]):
        assert web.get(path, headers={"If-Match": tag}).status_code == 200
    problem(web.get(path, headers={"If-Match": '"another"'}), 412)


@pytest.mark.parametrize("path", READS)
def test_head_of_a_read(web, client, path):
    """HEAD returns the headers of GET without a body, and does not count."""
    web.post("/counters/visits/hits")
    before = contents(client).keys()
    get, head = web.get(path), web.head(path)
    assert (head.status_code, head.text) == (200, "")
    assert {**head.headers} == {**get.headers}
    assert contents(client).keys() == before
    assert client.get(KEY) == b"1"


def test_head_of_count_has_no_etag(web):
    """HEAD /count has no ETag, because GET would count."""
    response = web.head("/count", headers={"If-None-Match": "*"})
    assert response.status_code == 200
    assert "ETag" not in response.headers
    assert response.headers["Cache-Control"] == "no-store"


def test_auto_create_off(service, client):
    """Without auto-create a hit is a 404 and stores nothing; `/count` still creates its counter."""
    web = service(COUNTER_AUTO_CREATE=False)
    assert problem(web.post("/counters/orders/hits"), 404)["counted"] is False
    assert problem(web.post("/counters/visits/hits?amount=7"), 404)["counted"] is False
    assert contents(client) == {}
    assert web.post("/count").json["value"] == 1
    assert web.post("/counters/visits/hits").json["value"] == 2
    client.set("counter:{orders}", 41)
    assert web.post("/counters/orders/hits").json["value"] == 42


def test_max_counters(service, client):
    """One counter too many is a 409 and stores nothing; existing ones still count."""
    web = service(COUNTER_MAX_COUNTERS=2, COUNTER_ADMIN_KEY=ADMIN_KEY)
    for name in ("a", "b"):
        assert web.post(f"/counters/{name}/hits").json["value"] == 1
    before = contents(client)
    assert "'c'" in problem(web.post("/counters/c/hits"), 409)["detail"]
    headers = {"Idempotency-Key": '"k"'}
    assert problem(web.post("/counters/c/hits", headers=headers), 409)["counted"] is False
    problem(put(web, "c", 7), 409)
    assert contents(client) == before
    assert web.post("/counters/a/hits").json["value"] == 2
    assert put(web, "b", 7).json["was"] == 1
    assert web.post("/count").json["value"] == 1
    web.delete("/counters/a", headers=ADMIN)
    web.delete("/counters/b", headers=ADMIN)
    assert web.post("/counters/c/hits").json["value"] == 1


@pytest.mark.parametrize("amount", ["0", "-1", "1.5", "1e3", "", "9223372036854775808", "9" * 30])
def test_invalid_amount(web, client, amount):
    """An invalid amount is a 400 and stores nothing."""
    assert problem(web.post(f"/counters/orders/hits?amount={amount}"), 400)["counted"] is False
    assert contents(client) == {}


def test_amount_that_overflows(web, client):
    """An amount that overflows is a 409 and changes nothing; a smaller one still counts."""
    web.post(f"/counters/orders/hits?amount={MAX - 1}")
    assert problem(web.post("/counters/orders/hits?amount=2"), 409)["counted"] is False
    assert web.post("/counters/orders/hits").json["value"] == MAX
    assert problem(web.post(f"/counters/orders/hits?amount={MAX}"), 409)["counted"] is False
    assert client.get("counter:{orders}") == str(MAX).encode()


def test_unknown_counter(admin, client):
    """Reading or deleting an unknown counter is a 404, and creates nothing."""
    for path in ("/counters/none", "/counters/none.txt", "/counters/none/series"):
        said = problem(admin.get(path), 404)
        assert (said["detail"], said["counted"]) == ("there is no counter 'none'.", False)
    assert problem(admin.delete("/counters/none", headers=ADMIN), 404) == said
    assert contents(client) == {}


@pytest.mark.parametrize("name", ["a%20b", "x" * 65, "%C3%BC", "a{b}", "%00"])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", ".json"), ("POST", "/hits"), ("GET", "/series"),
                         ("PUT", ""), ("DELETE", "")],
)  # fmt: skip
def test_invalid_name(admin, client, method, path, name):
    """An invalid name is a 400 with the rules on each route."""
    body = {"json": {"value": 1}} if method == "PUT" else {}
    answer = admin.open(f"/counters/{name}{path}", method=method, headers=ADMIN, **body)
    assert "1 to 64 characters" in problem(answer, 400)["detail"]
    assert contents(client) == {}


def test_set_and_delete(admin, client):
    """The response has the previous value; days and hours are deleted with the counter."""
    made = put(admin, "orders", 41)
    assert (made.status_code, made.headers["Location"]) == (201, "/counters/orders")
    assert made.json == {"name": "orders", "value": 41, "was": None}
    assert admin.get(made.headers["Location"]).json["value"] == 41
    assert client.get("counter:{orders}") == b"41"
    assert admin.post("/counters/orders/hits").json["value"] == 42
    answer = put(admin, "orders", -(2**63))
    assert (answer.status_code, "Location" in answer.headers) == (200, False)
    assert answer.json == {"name": "orders", "value": -(2**63), "was": 42}
    assert answer.headers["Cache-Control"] == "no-store"
    assert put(admin, "orders", MAX).json["was"] == -(2**63)
    deleted = admin.delete("/counters/orders", headers=ADMIN)
    assert deleted.json == {"name": "orders", "was": MAX}
    problem(admin.delete("/counters/orders", headers=ADMIN), 404)
    assert admin.get("/counters").json == {"counters": []}
    assert [key for key in contents(client) if b"writer" not in key] == []


AUTHORIZATIONS = {
    "none": {},
    "empty": {"Authorization": ""},
    "no key": {"Authorization": "Bearer"},
    "wrong": {"Authorization": f"Bearer {ADMIN_KEY[:-1]}"},
    "longer": {"Authorization": f"Bearer {ADMIN_KEY}1"},
    "not ASCII": {"Authorization": "Bearer \xfc" + ADMIN_KEY[1:]},
    "not ASCII at all": {"Authorization": "\xff\xfe"},
    "Basic": {"Authorization": f"Basic {ADMIN_KEY}"},
    "twice": {"Authorization": f"Bearer {ADMIN_KEY}, Bearer {ADMIN_KEY}"},
}


@pytest.mark.parametrize("headers", AUTHORIZATIONS.values(), ids=AUTHORIZATIONS)
def test_wrong_admin_key(admin, client, headers):
    """A wrong key is a 401 with instructions, also for an unknown counter, and changes nothing."""
    admin.post("/counters/orders/hits")
    before = contents(client)
    for name in ("orders", "none"):
        for method in (admin.put, admin.delete):
            body = {"json": {"value": 7}} if method == admin.put else {}
            response = method(f"/counters/{name}", headers=headers, **body)
            problem(response, 401)
            assert response.headers["WWW-Authenticate"].startswith("Bearer ")
            assert ADMIN_KEY not in response.text
    assert contents(client) == before


def test_scheme_ignores_case(admin):
    """The scheme Bearer ignores case (RFC 9110, section 11.1)."""
    headers = {"Authorization": f"bEARER {ADMIN_KEY}"}
    assert admin.put("/counters/orders", json={"value": 7}, headers=headers).status_code == 201


def test_changes_without_admin_key(web, client):
    """Without an admin key every change is a 403, also with an empty key, and changes nothing."""
    web.post("/counters/orders/hits")
    before = contents(client)
    for headers in (ADMIN, {}, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}):
        response = web.put("/counters/orders", json={"value": 7}, headers=headers)
        assert "COUNTER_ADMIN_KEY" in problem(response, 403)["detail"]
        problem(web.delete("/counters/orders", headers=headers), 403)
    assert contents(client) == before


def test_admin_key_from_a_file(service, tmp_path):
    """The admin key may come from a file, as Docker and Kubernetes mount secrets."""
    file = tmp_path / "key"
    file.write_text(f"{ADMIN_KEY}\n")
    assert put(service(COUNTER_ADMIN_KEY_FILE=str(file)), "orders", 7).status_code == 201


BODIES = {
    "nothing": b"",
    "no JSON": b"value=7",
    "no UTF-8": b'{"value": "\xff"}',
    "a number": b"7",
    "a list": b'[{"value": 7}]',
    "a text": b'"value"',
    "null": b"null",
    "nothing in it": b"{}",
    "something else": b'{"amount": 7}',
    "something more": b'{"value": 7, "amount": 1}',
    "a float": b'{"value": 7.0}',
    "a large float": b'{"value": 1e999}',
    "a bool": b'{"value": true}',
    "a text in it": b'{"value": "7"}',
    "null in it": b'{"value": null}',
    "NaN": b'{"value": NaN}',
    "too large": b'{"value": 9223372036854775808}',
    "too small": b'{"value": -9223372036854775809}',
    "very large": b'{"value": 1' + 5000 * b"0" + b"}",
    "cut off": b'{"value": 7',
    "two": b'{"value": 7}{"value": 8}',
    "deep": 65536 * b"[",
    "deep in it": b'{"value": ' + 30000 * b"[" + 30000 * b"]" + b"}",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_invalid_body(admin, client, body):
    """A body without a valid value is a 400, and changes nothing."""
    admin.post("/counters/orders/hits")
    before = contents(client)
    problem(admin.put("/counters/orders", data=body, headers=ADMIN), 400)
    assert contents(client) == before


def test_body_with_whitespace(admin):
    """The JSON may have whitespace, and any media type."""
    body = b'\n{ "value" :\t7 }\n'
    answer = admin.put("/counters/orders", data=body, headers=ADMIN, content_type="text/plain")
    assert answer.json["value"] == 7


@pytest.mark.parametrize(("announced", "status"), [(65537, 413), (0, 400), (11, 400), (13, 400)])
def test_body_of_the_wrong_size(admin, client, announced, status):
    """A too large body is rejected unread, and an incomplete one is a 400."""
    length = {"CONTENT_LENGTH": str(announced)}
    options = {"data": b'{"value": 7}', "headers": ADMIN, "environ_overrides": length}
    problem(admin.put("/counters/orders", **options), status)
    assert contents(client) == {}


CHUNKED = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""}
# Set by servers that decode chunks.
TERMINATED = CHUNKED | {"wsgi.input_terminated": True}


@pytest.mark.parametrize(("size", "status"), [(12, 201), (65535, 201), (65537, 413)])
def test_body_of_unknown_length(admin, client, size, status):
    """A body of unknown length is read up to the limit."""
    body = b'{"value": 7}'.ljust(size)
    options = {"data": body, "headers": ADMIN, "environ_overrides": TERMINATED}
    assert admin.put("/counters/orders", **options).status_code == status
    assert client.get("counter:{orders}") == (b"7" if status == 201 else None)


@pytest.mark.parametrize("path", ["/counters/orders", "/counters/orders/hits", "/count"])
def test_body_of_two_lengths(admin, client, path):
    """Two lengths are a 400: a proxy may have used the other one."""
    environ = TERMINATED | {"CONTENT_LENGTH": "1"}
    options = {"data": b"7", "headers": ADMIN, "environ_overrides": environ}
    method = "PUT" if path == "/counters/orders" else "POST"
    problem(admin.open(path, method=method, **options), 400)
    assert contents(client) == {}


def test_chunked_body_without_support(server, client):
    """A chunked body that the server cannot read is a 411, and is not treated as empty."""
    app = create_app({"REDIS_URL": server.url, "COUNTER_ADMIN_KEY": ADMIN_KEY})
    options = {"data": b"7", "headers": ADMIN, "environ_overrides": CHUNKED}
    problem(app.test_client().put("/counters/orders", **options), 411)
    problem(app.test_client().post("/counters/orders/hits", **options), 411)
    assert contents(client) == {}


@pytest.mark.parametrize(("data", "status"), [(b"", 200), (b"amount=2", 400)])
def test_hit_with_a_body_of_unknown_length(admin, client, data, status):
    """An empty body of a hit is ignored; any other might contain an amount, and is a 400."""
    options = {"data": data, "environ_overrides": TERMINATED}
    assert admin.post("/counters/orders/hits", **options).status_code == status
    assert client.get("counter:{orders}") == (b"1" if status == 200 else None)


def test_set_if_absent(admin, client):
    """With `If-None-Match: *`, setting an existing counter is a 412 and changes nothing."""
    new = {"If-None-Match": "*"}
    assert put(admin, "orders", 0, **new).status_code == 201
    admin.post("/counters/orders/hits")
    before = contents(client)
    assert "orders" in problem(put(admin, "orders", 7, **new), 412)["detail"]
    assert contents(client) == before
    assert put(admin, "orders", 7).json["was"] == 1


@pytest.mark.parametrize(
    "condition", [{"If-None-Match": '"tag"'}, {"If-None-Match": ""}, {"If-None-Match": "\xff"},
                  {"If-Match": "*"}, {"If-Match": '"tag"', "If-None-Match": "*"}], ids=str,
)  # fmt: skip
def test_unsupported_condition(admin, client, condition):
    """An unsupported condition is a 400: ignoring it could change what must not change."""
    admin.post("/counters/orders/hits")
    before = contents(client)
    problem(put(admin, "orders", 7, **condition), 400)
    problem(put(admin, "none", 7, **condition), 400)
    problem(admin.delete("/counters/orders", headers=ADMIN | condition), 400)
    assert contents(client) == before


def test_change_of_a_non_integer(admin, client):
    """Setting or deleting a key that is not an integer is a 500, and the key stays."""
    client.set(KEY, "text")
    problem(put(admin, "visits", 7), 500)
    problem(admin.delete("/counters/visits", headers=ADMIN), 500)
    assert contents(client).keys() == {KEY.encode()}
    assert client.get(KEY) == b"text"


def test_change_during_an_outage(web_alone, client_of):
    """A change during an outage is a 503, and nothing was changed."""
    config = web_alone.application.extensions["redis_counter"].config
    admin = client_of(REDIS_URL=config.redis_url, COUNTER_ADMIN_KEY=ADMIN_KEY)
    assert problem(put(admin, "orders", 7), 503)["counted"] is False
    assert problem(admin.delete("/counters/orders", headers=ADMIN), 503)["counted"] is False
    for path in READS:
        assert problem(web_alone.get(path), 503)["counted"] is False


@pytest.fixture
def noon(monkeypatch):
    """Fix the counters' clock at noon."""
    seconds = datetime(2026, 11, 23, 12, 30, tzinfo=UTC).timestamp()
    monkeypatch.setattr("flask_redis_counter.series.now", lambda: seconds)


def test_series_by_day(web, noon):
    """The series has 30 days by default, today last; a day without hits is a zero."""
    web.post("/counters/orders/hits?amount=7")
    web.post("/counters/orders/hits", headers={"User-Agent": "another"})
    answer = web.get("/counters/orders/series").json
    assert (answer["name"], answer["by"], len(answer["series"])) == ("orders", "day", 30)
    assert answer["series"][0] == {"start": "2026-10-25", "hits": 0, "visitors": 0}
    assert answer["series"][-1] == {"start": "2026-11-23", "hits": 8, "visitors": 2}
    assert len(web.get("/counters/orders/series?days=3660").json["series"]) == 3660


def test_series_by_hour(web, noon):
    """The series by hour covers 2 days by default, and has no visitors."""
    web.post("/counters/orders/hits?amount=7")
    answer = web.get("/counters/orders/series?by=hour").json
    assert (answer["by"], len(answer["series"])) == ("hour", 37)
    assert answer["series"][0] == {"start": "2026-11-22T00:00:00Z", "hits": 0}
    assert answer["series"][-1] == {"start": "2026-11-23T12:00:00Z", "hits": 7}
    assert len(web.get("/counters/orders/series?by=hour&days=7").json["series"]) == 157


def test_series_without_hits(admin):
    """The series of a counter without hits has zeros."""
    put(admin, "orders", 7)
    days = admin.get("/counters/orders/series?days=2").json["series"]
    assert [day["hits"] for day in days] == [0, 0]


@pytest.mark.parametrize(
    "query", ["by=week", "by=", "by=Day", "by=day&by=hour", "days=0", "days=3661", "days=-1",
              "days=1.5", "days=", "days=1&days=2", "by=hour&days=8", "day=7",
              "days=99999999999999999999"],
)  # fmt: skip
def test_series_rejects_invalid_queries(web, query):
    """An invalid query of a series is a 400."""
    web.post("/counters/orders/hits")
    problem(web.get(f"/counters/orders/series?{query}"), 400)
