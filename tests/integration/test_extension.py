"""Counters in somebody else's app, on real stores."""

import json

import pytest
import redis
from flask import Flask, render_template_string

from flask_redis_counter import FlaskRedisCounter
from flask_redis_counter.errors import ConfigurationError, InvalidNameError

from .support import nowhere


@pytest.fixture
def app(server, client):
    """An app of a user's."""
    app = Flask("theirs")
    app.config["REDIS_URL"] = server.url
    return app


def test_three_lines(app, client):
    """Make the extension, give it an app, count."""
    visits = FlaskRedisCounter(app)

    @app.get("/")
    def index():
        return f"{visits.hit().value}"

    assert [app.test_client().get("/").text for _ in range(3)] == ["1", "2", "3"]
    assert client.get("counter:{visits}") == b"3"


def test_several_apps_in_one_process(server, client):
    """One extension, two apps, two counters; the state lives in the apps."""
    extension = FlaskRedisCounter()
    apps = []
    for name in ("one", "two"):
        app = Flask(name)
        app.config.update(REDIS_URL=server.url, COUNTER_NAME=name)
        extension.init_app(app)
        apps.append(app)
    for app, hits in zip(apps, (1, 2), strict=True):
        with app.app_context():
            for _ in range(hits):
                extension.hit()
    assert (client.get("counter:{one}"), client.get("counter:{two}")) == (b"1", b"2")


def test_a_ready_client(server, client):
    """A client is taken as well as a URL, and wins over the settings."""
    app = Flask("theirs")
    app.config["REDIS_URL"] = "redis://nowhere.invalid"
    extension = FlaskRedisCounter(app, store=redis.Redis(port=server.port))
    with app.app_context():
        assert extension.hit("x", 5).value == 5
        assert extension.counter.value("x") == 5


def test_a_ready_client_needs_no_settings_of_the_store(server, client, monkeypatch):
    """What would be malformed loses, and so does the variable of a Kubernetes Service."""
    monkeypatch.setenv("REDIS_PORT", "tcp://10.0.0.11:6379")
    app = Flask("theirs")
    app.config.update(REDIS_URL="nonsense", REDIS_DB="x")
    extension = FlaskRedisCounter(app, store=server.url)
    with app.app_context():
        assert extension.hit("x").value == 1
    assert client.get("counter:{x}") == b"1"


def test_a_misspelt_setting_is_pointed_out(server, caplog):
    """The log names it, with the setting that it resembles, as `serve` does."""
    app = Flask("theirs")
    app.config.update(REDIS_URL=server.url, COUNTER_TIMOUT=1)
    FlaskRedisCounter(app)
    assert "COUNTER_TIMOUT is an unknown setting and has no effect: is it COUNTER_TIMEOUT?" in (
        caplog.text
    )


def test_the_environment_serves_what_the_app_does_not_say(server, client, monkeypatch):
    """REDIS_URL from the environment, COUNTER_NAME from the app."""
    monkeypatch.setenv("REDIS_URL", server.url)
    monkeypatch.setenv("COUNTER_NAME", "environment")
    app = Flask("theirs")
    app.config["COUNTER_NAME"] = "app"
    extension = FlaskRedisCounter(app)
    with app.app_context():
        assert extension.hit().name == "app"


def test_an_empty_name_is_not_the_apps_own(app, client):
    """It is a mistake like any other bad name."""
    extension = FlaskRedisCounter(app)
    with app.app_context():
        with pytest.raises(InvalidNameError):
            extension.hit("")
        assert extension.visits("") is None
    assert client.dbsize() == 0


def test_a_bad_setting_fails_at_start():
    """Not at the first visit."""
    app = Flask("theirs")
    app.config["COUNTER_TIMEOUT"] = "soon"
    with pytest.raises(ConfigurationError):
        FlaskRedisCounter(app)


def test_no_counters_for_this_app():
    """An app that was never initialised gets an error that says so."""
    with Flask("theirs").app_context(), pytest.raises(RuntimeError, match="init_app"):
        FlaskRedisCounter().hit()


def test_the_template_function(app, client):
    """`visits()` reads in a template, and is none while the store is away."""
    extension = FlaskRedisCounter(app)
    with app.app_context():
        extension.hit("visits", 3)
        assert render_template_string("{{ visits() }} {{ visits('other') }}") == "3 0"
    app.config["REDIS_URL"] = nowhere()
    FlaskRedisCounter(app)
    with app.app_context():
        assert render_template_string("{{ visits() is none }}") == "True"


def test_a_counted_view(app, client):
    """Each visit of the view counts once; HEAD and OPTIONS do not."""
    extension = FlaskRedisCounter(app)

    @app.get("/a")
    @extension.counted()
    def about():
        return "about"

    @app.post("/b")
    @extension.counted("orders")
    def order():
        return "ordered", 201

    web = app.test_client()
    assert web.get("/a").text == "about"
    web.head("/a")
    web.options("/a")
    assert web.post("/b").status_code == 201
    assert extension_values(app, extension) == {"about": 1, "orders": 1}


def extension_values(app, extension):
    """Return all counters of an app."""
    with app.app_context():
        return extension.counter.values(extension.counter.names())


def test_a_counted_view_never_breaks_the_page(caplog):
    """With the store away the page goes out, and the log says what became of the hit."""
    app = Flask("theirs")
    app.config["REDIS_URL"] = nowhere()

    @app.get("/")
    @FlaskRedisCounter(app).counted("front")
    def index():
        return "the page"

    response = app.test_client().get("/")
    assert (response.status_code, response.text) == (200, "the page")
    assert "'front': outcome: not_counted" in caplog.text


def test_a_counted_view_with_a_bad_name():
    """The rules for names hold when the view is defined."""
    with pytest.raises(InvalidNameError):
        FlaskRedisCounter().counted("a b")(lambda: "page")


def test_a_decorator_without_its_parentheses():
    """An error at once, and not at each visit."""
    visits = FlaskRedisCounter()
    with pytest.raises(TypeError, match=r"write @visits.counted\(\)"):

        @visits.counted
        def page():
            return "never"


def test_commands(app, client):
    """get, hit, set, reset, delete and list, for people and as JSON."""
    FlaskRedisCounter(app)
    runner = app.test_cli_runner()

    def run(*arguments, code=0):
        result = runner.invoke(args=["counter", *arguments])
        assert result.exit_code == code, result.output
        return result.output

    assert run("get") == "0\n"
    said = "Error: there is no counter 'nothere'; list shows all\n"
    assert run("get", "nothere", code=1) == said
    assert run("hit") == "1\n"
    assert run("hit", "orders", "--amount", "41") == "41\n"
    assert json.loads(run("hit", "orders", "--json")) == {"name": "orders", "value": 42}
    assert run("get", "orders") == "42\n"
    assert json.loads(run("get", "visits", "orders", "--json")) == {"visits": 1, "orders": 42}
    assert run("get", "visits", "orders") == "visits  1\norders  42\n"
    assert run("list") == "orders  42\nvisits  1\n"
    assert json.loads(run("list", "--json")) == {"orders": 42, "visits": 1}
    assert run("set", "orders", "-5") == "-5\n"
    assert json.loads(run("reset", "orders", "--json")) == {"name": "orders", "value": -5}
    assert run("get", "orders") == "0\n"
    assert run("delete", "orders") == "0\n"
    assert "there is no counter 'orders'" in run("delete", "orders", code=1)
    assert "1 to 64 characters" in run("hit", "a b", code=2)
    for command in ("hit", "reset"):  # an unset variable in a script
        assert "1 to 64 characters" in run(command, "", code=2)
    run("hit", "orders", "--amount", "0", code=2)
    client.set("counter:{visits}", "text")
    run("hit", "orders")
    assert run("list") == "orders  1\nvisits  -\n"
    assert json.loads(run("list", "--json")) == {"orders": 1, "visits": None}
    run("set", "orders", "9223372036854775808", code=2)


def test_series_on_the_command_line(app, client, monkeypatch):
    """A line for each day or hour, or JSON."""
    monkeypatch.setattr("flask_redis_counter.series.now", lambda: 1795448700.0)
    visits = FlaskRedisCounter(app)
    with app.app_context():
        visits.hit(amount=3)
        visits.counter.hit("visits", visitor="someone")
    runner = app.test_cli_runner()

    def run(*arguments, code=0):
        result = runner.invoke(args=["counter", "series", *arguments])
        assert result.exit_code == code, result.output
        return result.output

    assert run("--days", "2") == "2026-11-22  0  0\n2026-11-23  4  1\n"
    assert run("visits").count("\n") == 30
    assert "days" in run("--days", "0", code=2)
    assert run("--by", "hour", "--days", "1").splitlines()[-1] == "2026-11-23T15:00:00Z  4"
    day = {"start": "2026-11-23", "hits": 4, "visitors": 1}
    assert json.loads(run("--json", "--days", "1")) == [day]
    assert "use an integer from 1 to 7" in run("--by", "hour", "--days", "8", code=2)


def test_the_visitors_of_views(app, client):
    """A view's visitors are told apart; what nobody looks at yet does not count."""
    app.config["COUNTER_VISITOR_WINDOW"] = 60
    visits = FlaskRedisCounter(app)

    @app.get("/")
    @visits.counted("front")
    def index():
        return str(visits.hit("inside").value)

    web = app.test_client()
    for agent in ("a", "b", "a"):
        web.get("/", headers={"User-Agent": agent})
    web.get("/", headers={"User-Agent": "c", "Sec-Purpose": "prefetch;prerender"})
    web.get("/", headers={"User-Agent": "d", "DNT": "1"})
    with app.app_context():
        [front] = visits.counter.series("front", days=1)
        [inside] = visits.counter.series("inside", days=1)
    assert (front.hits, front.visitors) == (inside.hits, inside.visitors) == (3, 2)


def test_a_command_without_a_store():
    """One clear line, no traceback."""
    app = Flask("theirs")
    app.config["REDIS_URL"] = nowhere()
    FlaskRedisCounter(app)
    result = app.test_cli_runner().invoke(args=["counter", "hit"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: no connection to the store")
    assert result.output.count("\n") == 1
