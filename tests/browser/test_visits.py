"""What a visitor is told, and what the store has: through outages and back."""

from flask_redis_counter.testing import Faults, Stack, Tally, send_hit, wait_until

from .window import Window, connect_all

#: The words for each outcome; a page has the words of one.
COUNTED = "Your visit was counted"
REFUSED = "Your visit was not counted"
UNKNOWN = "We do not know whether your visit was counted"
SPOOLED = "It will be counted once the store is back"


def stored(stack: Stack) -> int:
    """Return what the store itself has."""
    return int(stack.run_redis_command("redis", "GET", "counter:{visits}") or 0)


def heard(window: Window) -> Tally:
    """Return what the visitor was told by the page that is there."""
    [words] = [words for words in (COUNTED, REFUSED, UNKNOWN) if words in window.text]
    assert window.status == (200 if words == COUNTED else 503)
    if words == COUNTED:
        return Tally(values=[window.number])
    return Tally(not_counted=1) if words == REFUSED else Tally(unknown=1)


def test_each_reload_counts_one(stack, open_window):
    """The page shows the number that the store has, and a reload the next one."""
    before = stored(stack)
    window = open_window(stack).visit("/count")
    assert window.number == before + 1 == stored(stack)
    for more in (2, 3):
        window.reload()
        assert window.number == before + more == stored(stack)
    assert COUNTED in window.text


def test_the_buttons_lead_around(stack, open_window):
    """From the welcome page to a visit that counts, to the value, and back, which do not."""
    before = stored(stack)
    window = open_window(stack).visit("/")
    assert "Reading this page does not count" in window.text
    window.click("Count my visit")
    assert heard(window).values == [before + 1]
    window.click("Read without counting")
    assert window.number == before + 1
    assert "This visit was not counted" in window.text
    window.click("Back to the start")
    assert window.number == before + 1 == stored(stack)


def test_thousands_are_grouped(stack, open_window):
    """A large number is readable, and is the number."""
    before = stored(stack)
    stack.run_redis_command("redis", "SET", "counter:{visits}", "41336")
    try:
        window = open_window(stack).visit("/count")
        assert "41,337" in window.text
        assert "41,337" in window.page.title()
    finally:
        stack.run_redis_command("redis", "SET", "counter:{visits}", str(before))


def test_the_number_rises_by_itself(stack, open_window):
    """Without a reload, on both pages that show it, with its thousands apart."""
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


def test_a_number_that_stands_still_comes_back(stack, open_window):
    """A page that was left, and is come back to, goes on."""
    before = stored(stack)
    window = open_window(stack).visit("/")
    window.click("Statistics")
    assert send_hit(stack.url()).values
    window.page.go_back(wait_until="load")
    wait_until(lambda: window.number == before + 1, what="the new number")
    assert send_hit(stack.url()).values
    wait_until(lambda: window.number == before + 2, what="the next one")


def test_a_visitor_sits_out_an_outage(stack, faults, open_window):
    """A friendly 503 that is true; the welcome page works; afterwards the next reload counts."""
    before = stored(stack)
    tally = Tally()
    window = open_window(stack).visit("/count")
    tally.add(heard(window))
    with faults.killed("redis"):
        # What is on its way when the store dies may be unknown; then it is known to be away.
        def refused() -> int:
            tally.add(heard(window.reload()))
            return tally.not_counted

        wait_until(refused, what=REFUSED)
        assert window.heading == "The counter is not available just now"
        assert "safe to try again" in window.text
        welcome = open_window(stack).visit("/")
        assert welcome.status == 200
        assert "No number just now" in welcome.text
        welcome.click("Try to count my visit")
        tally.add(heard(welcome))
        assert welcome.status == 503
    told = len(tally.values)
    tally.add(heard(window.reload()))
    assert len(tally.values) == told + 1, "the store is back, and a reload did not count"
    tally.add(heard(welcome.click("Try again")))
    assert tally.values[-1] == tally.values[-2] + 1 == stored(stack)
    tally.check(before=before, after=stored(stack))


def test_unknown_is_called_unknown(stack, faults, open_window):
    """A visit that reached the store, and whose answer was lost, is not said to be lost."""
    before = stored(stack)
    window = open_window(stack).visit("/count")
    assert heard(window).values == [before + 1]
    connect_all(stack)
    with faults.responses_dropped("redis"):
        window.reload()
        assert UNKNOWN in window.text
        assert "you will be counted twice" in " ".join(window.text.split())
        assert stored(stack) == before + 2, "it did arrive, once"
    stack.wait_ready()
    window.reload()
    assert window.number == before + 3 == stored(stack)


def test_a_spooled_visit_counts_later(spooling_stack, open_window):
    """A 202 that promises a count; the count comes once the store is back, and once only."""
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
    assert heard(window).values == [4]
    assert stored(stack) == 4
