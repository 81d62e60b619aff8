"""Counters by name over HTTP: list, read, hit, set and delete, on real stores."""

import io
import threading

import pytest
from werkzeug.test import Client

from flask_redis_counter import create_app

from .rsgi import as_wsgi
from .support import contents, problem

ADMIN_KEY = "correct-horse-battery-staple"


ADMIN = {"Authorization": f"Bearer {ADMIN_KEY}"}


READS = ["/counters", "/counters?name=visits", "/counters/visits", "/counters/visits.json",
         "/counters/visits.txt", "/counters/visits/series"]  # fmt: skip


@pytest.fixture
def service(server, client, client_of):
    """Make clients of the service with further settings, on an empty store."""

    def make(**config):
        return client_of(REDIS_URL=server.url, COUNTER_DEADLINE=10, **config)

    return make


@pytest.fixture
def admin(service):
    """A client of a service that has an admin key."""
    return service(COUNTER_ADMIN_KEY=ADMIN_KEY)


def counters(web):
    """Return the library's counters of a client's service."""
    return web.application.extensions["flask-redis-counter"].counter


def put(web, name, value, **headers):
    """Set a counter."""
    return web.put(f"/counters/{name}", json={"value": value}, headers=ADMIN | headers)


@pytest.mark.parametrize("path", READS)
def test_read_where_it_holds(web, path):
    """If-Match is met, or answered with 412."""
    web.post("/counters/visits/hits")
    for tag in ("*", web.get(path).headers["ETag"]):
        assert web.get(path, headers={"If-Match": tag}).status_code == 200
    problem(web.get(path, headers={"If-Match": '"another"'}), 412)


def test_head_of_the_count_has_no_tag(web):
    """GET would count: there is nothing that could still hold."""
    response = web.head("/count", headers={"If-None-Match": "*"})
    assert response.status_code == 200
    assert "ETag" not in response.headers
    assert response.headers["Cache-Control"] == "no-store"


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
def test_a_body_that_says_no_value(admin, client, body):
    """400, and nothing changed."""
    admin.post("/counters/orders/hits")
    before = contents(client)
    problem(admin.put("/counters/orders", data=body, headers=ADMIN), 400)
    assert contents(client) == before


def test_a_body_with_blanks(admin):
    """JSON may have them, and any media type."""
    body = b'\n{ "value" :\t7 }\n'
    answer = admin.put("/counters/orders", data=body, headers=ADMIN, content_type="text/plain")
    assert answer.json["value"] == 7


@pytest.mark.parametrize(("announced", "status"), [(65537, 413), (0, 400), (11, 400)])
def test_a_body_of_the_wrong_size(admin, client, announced, status):
    """One that is too large is refused before it is read; what is cut off says nothing."""
    length = {"CONTENT_LENGTH": str(announced)}
    options = {"data": b'{"value": 7}', "headers": ADMIN, "environ_overrides": length}
    problem(admin.put("/counters/orders", **options), status)
    assert contents(client) == {}


def test_a_body_of_unknown_length(admin, client):
    """411, also where a length is announced besides."""
    headers = ADMIN | {"Transfer-Encoding": "chunked"}
    problem(admin.put("/counters/orders", data=b'{"value": 7}', headers=headers), 411)
    assert contents(client) == {}


def test_a_body_that_does_not_come(server, client, monkeypatch):
    """The front waits for a while, and then says 400."""
    monkeypatch.setattr("flask_redis_counter.web.front.BODY_PATIENCE", 0.05)
    app = create_app({"REDIS_URL": server.url, "COUNTER_ADMIN_KEY": ADMIN_KEY})
    web = Client(as_wsgi(app), app.response_class)
    over = threading.Event()

    class Slow(io.BytesIO):
        """A body that comes when it is too late."""

        def read(self):
            """Wait, and return it."""
            over.wait(30)
            return super().read()

    answer = web.put("/counters/orders", input_stream=Slow(b'{"value": 7}'), headers=ADMIN)
    over.set()
    problem(answer, 400)
    assert contents(client) == {}


def test_set_only_what_is_new(admin, client):
    """With `If-None-Match: *`, 412 where there is one, and it stays."""
    new = {"If-None-Match": "*"}
    assert put(admin, "orders", 0, **new).json == {"name": "orders", "value": 0, "was": 0}
    admin.post("/counters/orders/hits")
    before = contents(client)
    assert "orders" in problem(put(admin, "orders", 7, **new), 412)["detail"]
    assert contents(client) == before
    assert put(admin, "orders", 7).json["was"] == 1


@pytest.mark.parametrize(
    "condition", [{"If-None-Match": '"tag"'}, {"If-None-Match": ""}, {"If-None-Match": "\xff"},
                  {"If-Match": "*"}, {"If-Match": '"tag"', "If-None-Match": "*"}], ids=str,
)  # fmt: skip
def test_a_condition_that_is_not_understood(admin, client, condition):
    """400, because to ignore it would change what was not to be changed."""
    admin.post("/counters/orders/hits")
    before = contents(client)
    problem(put(admin, "orders", 7, **condition), 400)
    problem(put(admin, "none", 7, **condition), 400)
    problem(admin.delete("/counters/orders", headers=ADMIN | condition), 400)
    assert contents(client) == before
