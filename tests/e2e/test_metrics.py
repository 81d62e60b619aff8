"""The sum of the replicas' metrics equals the counts in the store."""

from collections import Counter

import requests

from flask_redis_counter.testing import run_load

from .support import read_value, run_under_load

#: A scrape from inside the container.
SCRAPE = """
import os
from http.client import HTTPConnection
connection = HTTPConnection("127.0.0.1", int(os.environ.get("PORT", 5000)), timeout=5)
connection.request("GET", "/metrics")
print(connection.getresponse().read().decode())
"""


def scrape_sum(stack):
    """Return the sum of each metric over all replicas."""
    total = Counter()
    for number, replica in enumerate(stack.state("web")):
        if replica.is_ready:
            text = stack.exec("web", "python", "-c", SCRAPE, replica=number).output
            lines = (line.rsplit(" ", 1) for line in text.splitlines() if line[:1] not in "#")
            total.update({name: float(number) for name, number in lines if name})
    return total


def test_metrics_of_two_replicas_add_up_to_counters(new_stack):
    """Each hit is in the metrics of one replica, also with an outage."""
    with new_stack(replicas=2) as stack:
        tally = run_load(
            stack.url, clients=8, should_continue=lambda tally: len(tally.values) < 500
        )
        tally.check(before=0, after=read_value(stack))
        response = requests.post(f"{stack.url()}/counters/orders/hits?amount=7", timeout=5)
        assert response.json()["value"] == 7
        found = scrape_sum(stack)
        assert found["counter_store_up"] == 2
        assert found["counter_added_total"] == read_value(stack) + 7
        assert found['counter_hits_total{outcome="counted"}'] == read_value(stack) + 1
        assert found["counter_hit_duration_seconds_count"] == read_value(stack) + 1

        tally = run_under_load(stack, lambda: stack.restart("redis"))
        found = scrape_sum(stack)
        added = found["counter_added_total"]
        assert (
            added <= read_value(stack) + 7 <= added + found['counter_hits_total{outcome="unknown"}']
        )
        assert found['counter_hits_total{outcome="not_counted"}'] >= tally.not_counted
