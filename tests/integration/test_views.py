"""Views that count: `hit` and `counted` follow the same rules, and mistakes have remedies."""

import functools

import pytest
from flask import Blueprint, Flask, request
from flask.views import MethodView

from flask_redis_counter import FlaskRedisCounter
from flask_redis_counter.errors import InvalidNameError, RateLimitExceededError

BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0"}
CRAWLER = {"User-Agent": "Googlebot/2.1 (+http://www.google.com/bot.html)"}


@pytest.fixture
def app(server, client):
    """Return an app of a user of the extension."""
    app = Flask("theirs")
    app.config["REDIS_URL"] = server.url
    app.config["COUNTER_TIMEOUT"] = 10
    return app


@pytest.fixture(params=["hit", "counted"])
def counting(request, app):
    """A view that counts in one of both ways, below a route for GET and POST."""
    way = request.param

    def make(**settings):
        app.config.update(settings)
        visits = FlaskRedisCounter(app)
        idempotency_key = lambda: get_order()  # noqa: E731

        def inside():
            return str(visits.hit("page", idempotency_key=get_order()).value)

        page = (
            visits.counted("page", idempotency_key=idempotency_key)(lambda: "page")
            if way == "counted"
            else inside
        )
        app.add_url_rule("/", "page", page, methods=["GET", "POST"])
        return app.test_client()

    return make


def get_order():
    """Return the order number of the request, as an idempotency key."""
    return request.args.get("order")


def value(client):
    """Return the value of the page's counter."""
    return int(client.get("counter:{page}") or 0)


def test_each_visit_counts(counting, client):
    """GET and POST count once each."""
    web = counting()
    web.get("/")
    web.post("/")
    assert value(client) == 2


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_head_and_options_do_not_count(counting, client, method):
    """Flask runs a view for HEAD as well as for GET."""
    counting().open("/", method=method)
    assert value(client) == 0


def test_prefetch_does_not_count(counting, client):
    """The browser may never show the page."""
    web = counting()
    web.get("/", headers={"Sec-Purpose": "prefetch"})
    assert value(client) == 0


def test_crawler_does_not_count(counting, client):
    """With COUNTER_IGNORE_BOTS=true."""
    web = counting(COUNTER_IGNORE_BOTS=True)
    web.get("/", headers=CRAWLER)
    web.get("/", headers=BROWSER)
    assert value(client) == 1


def test_reload_does_not_count(counting, client):
    """Within COUNTER_VISITOR_WINDOW."""
    web = counting(COUNTER_VISITOR_WINDOW=60)
    for _ in range(3):
        web.get("/", headers=BROWSER)
    assert value(client) == 1


def test_idempotency_key_counts_once(counting, client):
    """For any client; without a key each visit counts."""
    web = counting()
    for order in ("1", "1", "2"):
        web.post(f"/?order={order}")
    web.post("/")
    assert value(client) == 3


def test_hit_that_does_not_count_has_the_current_value(app, client):
    """`hit` then reads the counter, and has counted=False."""
    visits = FlaskRedisCounter(app)
    with app.app_context():
        visits.counter.set("page", 41)
    with app.test_request_context(method="HEAD"):
        assert visits.hit("page") == ("page", 41, False, False)
        assert visits.counter.hit("page").value == 42, "a plain count counts"
    assert value(client) == 42


def test_rate_limit_of_hit_and_counted(app, client, caplog):
    """`hit` raises, `counted` serves the page; neither logs a warning."""
    app.config["COUNTER_RATE_LIMIT"] = "2/60"
    visits = FlaskRedisCounter(app)

    @app.get("/")
    @visits.counted("page")
    def page():
        return "page"

    web = app.test_client()
    assert [web.get("/").text for _ in range(5)] == ["page"] * 5
    with app.test_request_context(environ_base={"REMOTE_ADDR": "127.0.0.1"}):
        with pytest.raises(RateLimitExceededError) as caught:
            visits.hit("page")
        assert caught.value.outcome == "not_counted"
    assert value(client) == 2
    assert not [record for record in caplog.records if record.levelname != "DEBUG"]


def test_hit_outside_of_a_request_always_counts(app, client):
    """A view."""
    app.config.update(COUNTER_RATE_LIMIT="1/60", COUNTER_VISITOR_WINDOW=60)
    visits = FlaskRedisCounter(app)
    with app.app_context():
        for _ in range(3):
            visits.hit("page")
        assert (
            visits.hit("page", idempotency_key="a").value
            == visits.hit("page", idempotency_key="a").value
            == 4
        )
    assert value(client) == 4


def page():
    """Be a view."""
    return "page"


def above_a_route(app, visits):
    """Write the decorator above the route of an app."""
    visits.counted("page")(app.get("/")(page))


def above_a_blueprints_route(app, visits):
    """Write it above the route of a blueprint that is registered later."""
    blueprint = Blueprint("shop", __name__)
    visits.counted("page")(blueprint.get("/")(page))
    app.register_blueprint(blueprint)


def above_a_class_that_is_routed(app, visits):
    """Write it above the route of a class-based view."""

    class Page(MethodView):
        def get(self):
            return "page"

    view = Page.as_view("page")
    app.add_url_rule("/", view_func=view)
    visits.counted("page")(view)


def above_another_decorator(app, visits):
    """Write it above a route with another decorator."""

    @functools.wraps(page)
    def wrapped():
        return page()

    visits.counted("page")(app.get("/")(wrapped))


WRONG = [
    above_a_route,
    above_a_blueprints_route,
    above_a_class_that_is_routed,
    above_another_decorator,
]


@pytest.mark.parametrize("write", WRONG)
@pytest.mark.parametrize("early", [True, False])
def test_decorator_above_the_route_is_logged(app, client, caplog, write, early):
    """Once, at the first request, with the remedy."""
    visits = FlaskRedisCounter(app if early else None)
    write(app, visits)
    if not early:
        visits.init_app(app)
    web = app.test_client()
    assert [web.get("/").text for _ in range(2)] == ["page"] * 2
    (problem,) = caplog.messages
    assert "page' is not counted" in problem
    assert "write it below" in problem
    assert value(client) == 0


@pytest.mark.parametrize("mode", ["debug", "testing"])
def test_decorator_above_the_route_is_an_error_in_development(app, mode):
    """In debug mode and in tests."""
    setattr(app, mode, True)
    above_a_route(app, FlaskRedisCounter(app))
    app.config["PROPAGATE_EXCEPTIONS"] = True
    with pytest.raises(RuntimeError, match="stands above the route"):
        app.test_client().get("/")


def test_correct_decorators_are_not_logged(app, client, caplog):
    """Below the route, on a class, under another decorator, and beside a route without one."""
    app.testing = True
    visits = FlaskRedisCounter(app)

    class Page(MethodView):
        decorators = (visits.counted("page"),)

        def get(self):
            return "page"

    class Shop(MethodView):
        @visits.counted("page")
        def get(self):
            return "shop"

    app.add_url_rule("/class", view_func=Page.as_view("class"))
    app.add_url_rule("/method", view_func=Shop.as_view("method"))
    below = visits.counted("page")(page)
    app.add_url_rule("/below", "below", below)
    app.add_url_rule("/wrapped", "wrapped", functools.wraps(below)(lambda: below()))
    app.add_url_rule("/uncounted", "uncounted", page)
    web = app.test_client()
    for path in ("class", "method", "below", "wrapped", "uncounted"):
        assert web.get(f"/{path}").status_code == 200
    assert value(client) == 4
    assert not caplog.messages


def test_counted_rejects_a_class():
    """The error, at the definition, says what to write instead."""
    with pytest.raises(TypeError, match=r'decorators = \[visits.counted\("Page"\)\]'):

        @FlaskRedisCounter().counted()
        class Page(MethodView):
            pass


def test_counted_rejects_a_view_whose_name_is_invalid():
    """The error says where to write a valid name."""
    visits = FlaskRedisCounter()

    def página():
        return "página"

    for view in (página, lambda: "page"):
        with pytest.raises(InvalidNameError, match=r'write @visits.counted\("name"\)'):
            visits.counted()(view)
    with pytest.raises(TypeError, match=r'partial has no name: write @visits.counted\("name"\)'):
        visits.counted()(functools.partial(página))


def test_counted_takes_partials_with_a_name(app, client):
    """Each is an endpoint of its own, and counts."""
    visits = FlaskRedisCounter(app)
    for name in ("page", "about-us"):
        app.get(f"/{name}")(visits.counted(name)(functools.partial(str, name)))
    web = app.test_client()
    assert [web.get(path).text for path in ("/page", "/about-us")] == ["page", "about-us"]
    assert (value(client), client.get("counter:{about-us}")) == (1, b"1")
