"""The metrics in the docs and in the alerts exist."""

import re
from pathlib import Path

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from flask_redis_counter import create_app

ROOT = Path(__file__).parents[2]


@pytest.fixture
def metrics(store, tmp_path):
    """Return the names of all metrics of a service with a spool and a store with a memory limit."""
    settings = {"REDIS_URL": store.url, "COUNTER_ON_OUTAGE": "spool", "COUNTER_SPOOL_DIR": tmp_path}
    app = create_app({name: str(value) for name, value in settings.items()})
    counter = app.extensions["redis_counter"].counter
    with counter, redis.Redis.from_url(store.url) as client:
        client.config_set("maxmemory", "100mb")
        text = app.test_client().get("/metrics").text
    return {sample.name for one in text_string_to_metric_families(text) for sample in one.samples}


def test_alerts_use_existing_metrics(metrics):
    """Each metric in the alerts exists; otherwise the alert would never fire."""
    used = set(re.findall(r"counter_\w+", (ROOT / "deploy" / "alerts.yml").read_text("utf-8")))
    assert used
    assert used <= metrics


def test_table_of_metrics_is_complete(metrics):
    """The table in the docs has each metric, histograms without their parts, and no other."""
    page = (ROOT / "docs" / "operating.md").read_text("utf-8")
    rows = re.findall(r"^\| (`counter_.*?) \|", page, re.M)
    listed = set()
    for name in re.findall(r"`(\w+)[{`]", " ".join(rows)):
        listed.add(name if name.startswith("counter_") else f"counter_store{name}")
    existing = {re.sub("_(bucket|count|sum)$", "", name) for name in metrics} - {"counter_info"}
    assert listed == existing
