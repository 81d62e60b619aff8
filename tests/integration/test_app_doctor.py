"""`flask counter doctor`: checks of an app's settings, store and views."""

import json

import pytest
import redis
from flask import Flask

from flask_redis_counter import FlaskRedisCounter

from .support import contents, nowhere


@pytest.fixture
def app(server, client):
    """An app of a user's."""
    app = Flask("theirs")
    app.config.update(REDIS_URL=server.url, COUNTER_TIMEOUT=10, COUNTER_NAME="home")
    return app


def run(app, *arguments, code):
    """Run a `flask counter` command of the app."""
    result = app.test_cli_runner().invoke(args=["counter", *arguments])
    assert result.exit_code == code, result.output
    return result.output


def findings(app, code):
    """Return the results that are not ok, by subject."""
    found = json.loads(run(app, "doctor", "--json", code=code))
    return {one["subject"]: one for one in found if one["state"] != "ok"}


def test_doctor_checks_the_apps_own_store(app, client, monkeypatch):
    """The settings come from the app, and not from the environment."""
    monkeypatch.setenv("REDIS_URL", nowhere())
    FlaskRedisCounter(app)
    found = json.loads(run(app, "doctor", "--json", code=0))
    assert {"settings", "store", "hit"} <= {one["subject"] for one in found}
    assert all(one["state"] == "ok" for one in found if one["subject"] in ("store", "hit"))
    assert "counter home" in found[0]["said"]
    assert "server" not in {one["subject"] for one in found}, "it runs under another"
    assert not [key for key in contents(client) if key == b"counter:{home}"]
    assert "ok       settings" in run(app, "doctor", code=0)


@pytest.mark.parametrize("way", ["url", "client"])
def test_doctor_checks_the_store_argument(way, server, client):
    """With `store=` the settings do not say where it is."""
    app = Flask("theirs")
    app.config["REDIS_URL"] = nowhere()
    password = f"redis://:hunter2@127.0.0.1:{server.port}"
    given = server.url if way == "url" else redis.Redis(port=server.port)
    FlaskRedisCounter(app, store=given)
    found = json.loads(run(app, "doctor", "--json", code=0))
    (store,) = [one for one in found if one["subject"] == "store"]
    assert store["state"] == "ok"
    assert str(server.port) in store["said"]
    refused = Flask("theirs")
    FlaskRedisCounter(refused, store=redis.Redis.from_url(password))
    assert "hunter2" not in run(refused, "doctor", code=1)


def test_outage_error_points_to_doctor():
    """The hint names the doctor that reads the same settings."""
    app = Flask("theirs")
    app.config["REDIS_URL"] = nowhere()
    FlaskRedisCounter(app)
    assert "; run flask counter doctor" in run(app, "hit", code=1)
    found = findings(app, 1)
    assert found["store"]["state"] == "failure"
    assert app.config["REDIS_URL"].removeprefix("redis://") in found["store"]["said"]


def test_doctor_finds_misspelt_settings_and_uncounted_views(app):
    """Each result has a remedy."""
    app.config["COUNTER_TIMOUT"] = 1
    visits = FlaskRedisCounter(app)

    @visits.counted()
    @app.get("/")
    def index():
        return "page"

    found = findings(app, 1)
    assert found["settings"]["remedy"] == "is it COUNTER_TIMEOUT?"
    assert found["views"]["state"] == "failure"
    assert "'index' is not counted" in found["views"]["said"]
    assert "write it below" in found["views"]["remedy"]


def test_doctor_warns_if_counting_is_disabled(app):
    """COUNTER_ENABLED=false is for tests."""
    app.config["COUNTER_ENABLED"] = "false"
    FlaskRedisCounter(app)
    assert "COUNTER_ENABLED is false" in findings(app, 1)["settings"]["said"]
