"""Medians by number of connections."""

from bench.sweep import Point, summarize


def test_summarize_medians(make_load):
    """summarize returns the medians, in the order of the numbers of connections."""
    loads = {
        64: [make_load(300, p99=9.0), make_load(100, p99=3.0), make_load(200, p99=6.0)],
        1: [make_load(10, p99=1.0)],
    }
    assert summarize(loads) == [Point(1, 10.0, 1.0, 0), Point(64, 200.0, 6.0, 0)]


def test_summarize_errors(make_load):
    """summarize adds up the errors, and does not count error responses as hits."""
    loads = {8: [make_load(100, non_2xx=40), make_load(50, failed=3), make_load(70)]}
    assert summarize(loads) == [Point(8, 60.0, 2.0, 43)]


def test_summarize_no_responses(make_load):
    """summarize keeps a contestant that never responded, without a latency."""
    loads = {2000: [make_load(0, p99=0.0, failed=2000)] * 3}
    assert summarize(loads) == [Point(2000, 0.0, None, 6000)]


def test_summarize_some_rounds_without_responses(make_load):
    """summarize leaves rounds without responses out of the latency, but not out of the rate."""
    loads = {
        2000: [make_load(0, p99=0.0, failed=9), make_load(0, failed=9), make_load(80, p99=7.0)]
    }
    assert summarize(loads) == [Point(2000, 0.0, 7.0, 18)]
