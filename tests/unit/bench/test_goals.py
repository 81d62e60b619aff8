"""The goals of the benchmarks, and their verdicts."""

import pytest

from bench.contestants import CONSTANTS, DEMO, FASTAPI, OURS, WEBDIS
from bench.goals import Goal


def found(report):
    """Return the goals of a report by their texts."""
    return {goal.text: goal for goal in report.goals()}


@pytest.mark.parametrize(
    ("at_least", "samples", "met"),
    [
        (True, [1, 4, 9], True),
        (True, [9, 3.99, 1], False),
        (False, [1, 4, 9], True),
        (False, [1, 4.01, 9], False),
    ],
)
def test_goal_met_by_the_median(at_least, samples, met):
    """A goal is met if the median of its samples is within its bound, including the bound."""
    assert Goal("x", 4, at_least, samples).met is met


def test_goals_compare_rates(make_report):
    """The rates of this service are compared with each peer's in the same round."""
    rates = {OURS.name: 36_000, WEBDIS.name: 40_000, DEMO.name: 1_800, FASTAPI.name: 6_000}
    judged = found(make_report(rates))
    measures = {name: goal.measure for name, goal in judged.items()}
    assert measures["ours / webdis"] == pytest.approx(0.9)
    assert measures["ours / demo, gunicorn, 2 sync workers"] == pytest.approx(20)
    assert measures["ours / FastAPI"] == pytest.approx(6)
    assert judged["ours / webdis"].met
    assert not judged["ours / FastAPI"].met


def test_goals_take_the_best_constant(make_report):
    """The constant Flask view is the fastest of those on several servers."""
    rates = {OURS.name: 36_000} | {each.name: 5_000 for each in CONSTANTS}
    rates[CONSTANTS[-1].name] = 12_000
    judged = found(make_report(rates))
    assert judged["ours / best constant Flask view"].measure == pytest.approx(3)


def test_goals_without_webdis(make_report):
    """Without webdis the goals that compare with it are left out."""
    report = make_report({}, without=[WEBDIS])
    assert len(report.goals()) == len(make_report({}).goals()) - 2
    assert not any("webdis" in goal.text for goal in report.goals())


def test_goals_of_library_and_worker(make_report):
    """The goals have the library's ratios, the median startup and the largest worker's memory."""
    judged = found(make_report({}))
    assert judged["hit() / incr(), 16 threads"].measure == 4
    assert judged["start to first answer, s"].measure == 0.3
    assert judged["largest worker's RSS, MB"].measure == 60
    assert judged["store's CPU a hit, ours / INCR's"].measure == 0.5
