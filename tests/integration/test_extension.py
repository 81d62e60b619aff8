"""The extension in an app, on real stores."""

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


def test_hit_counts_in_an_app(app, client):
    """Make the extension, pass it an app, and count."""
    visits = FlaskRedisCounter(app)

    @app.get("/")
    def index():
        return f"{visits.hit().value}"

    assert [app.test_client().get("/").text for _ in range(3)] == ["1", "2", "3"]
    assert client.get("counter:{visits}") == b"3"


def test_extension_serves_several_apps(server, client):
    """One extension, two apps, two counters: the state is stored in the apps."""
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


def test_store_argument_takes_a_client(server, client):
    """It overrides the settings."""
    app = Flask("theirs")
    app.config["REDIS_URL"] = "redis://nowhere.invalid"
    extension = FlaskRedisCounter(app, store=redis.Redis(port=server.port))
    with app.app_context():
        assert extension.hit("x", 5).value == 5
        assert extension.counter.value("x") == 5


def test_store_argument_overrides_malformed_settings(server, client, monkeypatch):
    """A service link of Kubernetes is ignored, too."""
    monkeypatch.setenv("REDIS_PORT", "tcp://10.0.0.11:6379")
    app = Flask("theirs")
    app.config.update(REDIS_URL="nonsense", REDIS_DB="x")
    extension = FlaskRedisCounter(app, store=server.url)
    with app.app_context():
        assert extension.hit("x").value == 1
    assert client.get("counter:{x}") == b"1"


def test_misspelt_setting_is_logged(server, caplog):
    """With the setting that it resembles, as `serve` does."""
    app = Flask("theirs")
    app.config.update(REDIS_URL=server.url, COUNTER_TIMOUT=1)
    FlaskRedisCounter(app)
    assert "COUNTER_TIMOUT is an unknown setting and has no effect: is it COUNTER_TIMEOUT?" in (
        caplog.text
    )


def test_environment_completes_the_apps_settings(server, client, monkeypatch):
    """REDIS_URL comes from the environment, COUNTER_NAME from the app."""
    monkeypatch.setenv("REDIS_URL", server.url)
    monkeypatch.setenv("COUNTER_NAME", "environment")
    app = Flask("theirs")
    app.config["COUNTER_NAME"] = "app"
    extension = FlaskRedisCounter(app)
    with app.app_context():
        assert extension.hit().name == "app"


def test_empty_name_is_an_error(app, client):
    """It does not stand for the app's own counter."""
    extension = FlaskRedisCounter(app)
    with app.app_context():
        with pytest.raises(InvalidNameError):
            extension.hit("")
        assert extension.visits("") is None
    assert client.dbsize() == 0


def test_invalid_setting_fails_at_start():
    """And not at the first visit."""
    app = Flask("theirs")
    app.config["COUNTER_TIMEOUT"] = "soon"
    with pytest.raises(ConfigurationError):
        FlaskRedisCounter(app)


def test_uninitialised_app_is_an_error():
    """The error names init_app."""
    with Flask("theirs").app_context(), pytest.raises(RuntimeError, match="init_app"):
        FlaskRedisCounter().hit()


def test_visits_in_a_template(app, client):
    """`visits()` reads a value, and is None during an outage."""
    extension = FlaskRedisCounter(app)
    with app.app_context():
        extension.hit("visits", 3)
        assert render_template_string("{{ visits() }} {{ visits('other') }}") == "3 0"
    app.config["REDIS_URL"] = nowhere()
    FlaskRedisCounter(app)
    with app.app_context():
        assert render_template_string("{{ visits() is none }}") == "True"


def test_counted_view_counts_each_visit(app, client):
    """HEAD and OPTIONS do not count."""
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


def test_counted_view_works_during_an_outage(caplog):
    """The page is served, and the log has the outcome of the hit."""
    app = Flask("theirs")
    app.config["REDIS_URL"] = nowhere()

    @app.get("/")
    @FlaskRedisCounter(app).counted("front")
    def index():
        return "the page"

    response = app.test_client().get("/")
    assert (response.status_code, response.text) == (200, "the page")
    assert "'front': outcome: not_counted" in caplog.text


def test_counted_rejects_an_invalid_name():
    """At the definition of the view."""
    with pytest.raises(InvalidNameError):
        FlaskRedisCounter().counted("a b")(lambda: "page")


def test_counted_without_parentheses_is_an_error():
    """At the definition of the view."""
    visits = FlaskRedisCounter()
    with pytest.raises(TypeError, match=r"write @visits.counted\(\)"):

        @visits.counted
        def page():
            return "never"


def test_commands(app, client):
    """get, hit, set, reset, delete and list, as text and as JSON."""
    FlaskRedisCounter(app)
    runner = app.test_cli_runner()

    def run(*arguments, code=0):
        result = runner.invoke(args=["counter", *arguments])
        assert result.exit_code == code, result.output
        return result.output

    assert run("get") == "0\n"
    message = "Error: there is no counter 'nothere'; run flask counter list\n"
    assert run("get", "nothere", code=1) == message
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


def test_series_command(app, client, monkeypatch):
    """It prints a line for each day or hour, or JSON."""
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


def test_views_record_unique_visitors(app, client):
    """A prefetch does not count."""
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


def test_command_during_an_outage():
    """It prints one line, without a traceback."""
    app = Flask("theirs")
    app.config["REDIS_URL"] = nowhere()
    FlaskRedisCounter(app)
    result = app.test_cli_runner().invoke(args=["counter", "hit"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: no connection to the store")
    assert result.output.count("\n") == 1
