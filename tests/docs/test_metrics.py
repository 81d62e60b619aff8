"""What the docs and the alerts say of the metrics."""

import re
from pathlib import Path

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from flask_redis_counter import create_app

ROOT = Path(__file__).parents[2]


@pytest.fixture
def metrics(store, tmp_path):
    """Return the names of all metrics of a service that has a spool, and a store with a limit."""
    settings = {"REDIS_URL": store.url, "COUNTER_ON_OUTAGE": "spool", "COUNTER_SPOOL_DIR": tmp_path}
    app = create_app({name: str(value) for name, value in settings.items()})
    counter = app.extensions["redis_counter"].counter
    with counter, redis.Redis.from_url(store.url) as client:
        client.config_set("maxmemory", "100mb")
        text = app.test_client().get("/metrics").text
    return {sample.name for one in text_string_to_metric_families(text) for sample in one.samples}


def test_the_alerts_ask_for_metrics_that_are_there(metrics):
    """Else they would never fire."""
    asked = set(re.findall(r"counter_\w+", (ROOT / "deploy" / "alerts.yml").read_text("utf-8")))
    assert asked
    assert asked <= metrics


def test_the_table_of_metrics_is_whole(metrics):
    """Each metric is in it, and nothing else; a histogram's parts go without saying."""
    page = (ROOT / "docs" / "operating.md").read_text("utf-8")
    rows = re.findall(r"^\| (`counter_.*?) \|", page, re.M)
    told = set()
    for name in re.findall(r"`(\w+)[{`]", " ".join(rows)):
        told.add(name if name.startswith("counter_") else f"counter_store{name}")
    there = {re.sub("_(bucket|count|sum)$", "", name) for name in metrics} - {"counter_info"}
    assert told == there
