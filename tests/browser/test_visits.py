"""Visits in a browser, compared with the store, through outages and back."""

from flask_redis_counter.testing import Faults, Stack, Tally, send_hit, wait_until

from .window import Window, connect_all

#: The text of each outcome. A page has one of them.
COUNTED = "Your visit was counted"
REFUSED = "Your visit was not counted"
UNKNOWN = "We do not know whether your visit was counted"
SPOOLED = "It will be counted once the store is back"


def stored(stack: Stack) -> int:
    """Return the value in the store."""
    return int(stack.run_redis_command("redis", "GET", "counter:{visits}") or 0)


def shown_outcome(window: Window) -> Tally:
    """Return the outcome that the current page shows."""
    [words] = [words for words in (COUNTED, REFUSED, UNKNOWN) if words in window.text]
    assert window.status == (200 if words == COUNTED else 503)
    if words == COUNTED:
        return Tally(values=[window.number])
    return Tally(not_counted=1) if words == REFUSED else Tally(unknown=1)


def test_each_reload_counts_one(stack, open_window):
    """The page shows the number in the store, and a reload the next one."""
    before = stored(stack)
    window = open_window(stack).visit("/count")
    assert window.number == before + 1 == stored(stack)
    for more in (2, 3):
        window.reload()
        assert window.number == before + more == stored(stack)
    assert COUNTED in window.text


def test_navigation(stack, open_window):
    """The links lead from the welcome page to a visit that counts, to the value, and back."""
    before = stored(stack)
    window = open_window(stack).visit("/")
    assert "Reading this page does not count" in window.text
    window.click("Count my visit")
    assert shown_outcome(window).values == [before + 1]
    window.click("Read without counting")
    assert window.number == before + 1
    assert "This visit was not counted" in window.text
    window.click("Back to the start")
    assert window.number == before + 1 == stored(stack)


def test_thousands_are_grouped(stack, open_window):
    """A large number has thousands separators, and is exact."""
    before = stored(stack)
    stack.run_redis_command("redis", "SET", "counter:{visits}", "41336")
    try:
        window = open_window(stack).visit("/count")
        assert "41,337" in window.text
        assert "41,337" in window.page.title()
    finally:
        stack.run_redis_command("redis", "SET", "counter:{visits}", str(before))


def test_live_number(stack, open_window):
    """The number rises without a reload, on both pages, with thousands separators."""
    before = stored(stack)
    stack.run_redis_command("redis", "SET", "counter:{visits}", "999")
    try:
        welcome, statistics = open_window(stack).visit("/"), open_window(stack).visit("/stats")
        value = statistics.page.locator("[data-live=visits]")
        assert (welcome.number, value.inner_text()) == (999, "999")
        for number in ("1,000", "1,001"):
            assert send_hit(stack.url()).values
            for look in (lambda: welcome.text, value.inner_text):
                wait_until(lambda look=look, number=number: number in look(), what=number)
        assert "1,001 visits so far" in " ".join(welcome.text.split())
    finally:
        stack.run_redis_command("redis", "SET", "counter:{visits}", str(before))


def test_live_number_after_going_back(stack, open_window):
    """A page that is left and returned to updates again."""
    before = stored(stack)
    window = open_window(stack).visit("/")
    window.click("Statistics")
    assert send_hit(stack.url()).values
    window.page.go_back(wait_until="load")
    wait_until(lambda: window.number == before + 1, what="the new number")
    assert send_hit(stack.url()).values
    wait_until(lambda: window.number == before + 2, what="the next one")


def test_outage(stack, faults, open_window):
    """During an outage a visit is a correct 503, and the welcome page works; then reloads count."""
    before = stored(stack)
    tally = Tally()
    window = open_window(stack).visit("/count")
    tally.add(shown_outcome(window))
    with faults.killed("redis"):
        # A hit in flight when the store dies may be unknown; later ones are not counted.
        def refused() -> int:
            tally.add(shown_outcome(window.reload()))
            return tally.not_counted

        wait_until(refused, what=REFUSED)
        assert window.heading == "The counter is not available just now"
        assert "safe to try again" in window.text
        welcome = open_window(stack).visit("/")
        assert welcome.status == 200
        assert "No number just now" in welcome.text
        welcome.click("Try to count my visit")
        tally.add(shown_outcome(welcome))
        assert welcome.status == 503
    told = len(tally.values)
    tally.add(shown_outcome(window.reload()))
    assert len(tally.values) == told + 1, "the store is back, and a reload did not count"
    tally.add(shown_outcome(welcome.click("Try again")))
    assert tally.values[-1] == tally.values[-2] + 1 == stored(stack)
    tally.check(before=before, after=stored(stack))


def test_unknown_outcome(stack, faults, open_window):
    """A visit whose reply was lost is shown as unknown, not as lost."""
    before = stored(stack)
    window = open_window(stack).visit("/count")
    assert shown_outcome(window).values == [before + 1]
    connect_all(stack)
    with faults.responses_dropped("redis"):
        window.reload()
        assert UNKNOWN in window.text
        assert "you will be counted twice" in " ".join(window.text.split())
        assert stored(stack) == before + 2, "it did arrive, once"
    stack.wait_ready()
    window.reload()
    assert window.number == before + 3 == stored(stack)


def test_spooled_visit(spooling_stack, open_window):
    """A spooled visit is a 202, and counts once when the store is back."""
    stack = spooling_stack
    window = open_window(stack).visit("/count")
    assert window.number == 1
    with Faults(stack).killed("redis"):
        for _ in range(2):
            window.reload()
            assert window.status == 202
            assert window.heading == "Your visit is noted"
            assert SPOOLED in window.text
    wait_until(lambda: stored(stack) >= 3, what="the two visits in the store")
    window.reload()
    assert shown_outcome(window).values == [4]
    assert stored(stack) == 4
