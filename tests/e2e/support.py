"""Helpers for several end-to-end tests."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import requests

from flask_redis_counter.testing import Stack, Tally, run_load, wait_until

#: Hits that must be acknowledged before a disruption, and again after it.
HITS_EACH = 50


def read_value(stack: Stack | str, name: str = "visits") -> int:
    """Return a counter's value, without counting.

    :param stack: the stack, or its URL, which takes Docker a third of a second to find.
    """
    url = stack if isinstance(stack, str) else stack.url()
    answer = requests.get(f"{url}/counters/{name}", timeout=5)
    if answer.status_code == 404:
        return 0
    answer.raise_for_status()
    return answer.json()["value"]


def run_under_load(stack: Stack, disrupt: Callable[[], object], *, clients: int = 8) -> Tally:
    """Disrupt a stack while clients count, and return the tally of all their hits."""
    progress = {"now": 0}
    disrupted = threading.Event()
    deadline = time.monotonic() + 90

    def should_continue(tally: Tally) -> bool:
        progress["now"] = len(tally.values)
        if disrupted.is_set():
            progress.setdefault("target", len(tally.values) + HITS_EACH)
            return len(tally.values) < progress["target"] and time.monotonic() < deadline
        return time.monotonic() < deadline

    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(run_load, stack.url, clients=clients, should_continue=should_continue)
        try:
            wait_until(lambda: progress["now"] >= HITS_EACH, what=f"{HITS_EACH} hits")
            disrupt()
        finally:
            disrupted.set()
        tally = load.result()
    assert len(tally.values) >= progress["target"], "the stack did not come back"
    return tally
