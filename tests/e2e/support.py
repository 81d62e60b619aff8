"""What several scenarios need."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import requests

from flask_redis_counter.testing import Stack, Tally, run_load, wait_until

#: Hits that must be acknowledged before a disturbance, and again after it.
ENOUGH = 50


def value(stack: Stack, name: str = "visits") -> int:
    """Return a counter's value, read and not counted."""
    answer = requests.get(f"{stack.url()}/counters/{name}", timeout=5)
    if answer.status_code == 404:
        return 0
    answer.raise_for_status()
    return answer.json()["value"]


def under_load(stack: Stack, disturb: Callable[[], object], *, clients: int = 8) -> Tally:
    """Disturb a stack while clients count, and return what they were told, before and after."""
    progress = {"now": 0}
    disturbed = threading.Event()
    ends = time.monotonic() + 90

    def should_continue(tally: Tally) -> bool:
        progress["now"] = len(tally.values)
        if disturbed.is_set():
            progress.setdefault("target", len(tally.values) + ENOUGH)
            return len(tally.values) < progress["target"] and time.monotonic() < ends
        return time.monotonic() < ends

    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(run_load, stack.url, clients=clients, should_continue=should_continue)
        try:
            wait_until(lambda: progress["now"] >= ENOUGH, what=f"{ENOUGH} hits")
            disturb()
        finally:
            disturbed.set()
        tally = load.result()
    assert len(tally.values) >= progress["target"], "the stack did not come back"
    return tally
