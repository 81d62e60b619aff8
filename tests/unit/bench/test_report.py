"""The report as text and JSON."""

import json

from bench.contestants import OURS, WEBDIS


def test_as_text_verdicts(make_report):
    """The text has every measurement, and ends with the goals that were missed."""
    sweep = {}
    text = make_report({OURS.name: 36_000, WEBDIS.name: 40_000}, sweep=sweep).as_text()
    assert "hit() / incr(), 16 threads" in text
    assert "varied" in text
    assert "0.90  (0.90-0.90)" in text
    last = text.splitlines()[-1]
    assert last.startswith("MISSED: ")
    assert "largest worker's RSS, MB" in last
    assert "ours / webdis" not in last


def test_as_text_sweep(make_report, make_load):
    """The text has the rates, latencies and errors by connections."""
    sweep = {OURS.name: {8: [make_load(5_000, p99=7.5)], 2000: [make_load(0, failed=4)]}}
    lines = [line.split() for line in make_report({}, sweep=sweep).as_text().splitlines()]
    assert ["8", "5,000/s", "p99", "7.5", "ms"] in lines
    assert ["2,000", "0/s", "no", "response", "4", "errors"] in lines


def test_as_json_round_trip(make_report, make_load):
    """The JSON has every round."""
    sweep = {OURS.name: {8: [make_load(5_000)]}}
    stored = json.loads(json.dumps(make_report({}, sweep=sweep).as_json()))
    assert len(stored["loads"][OURS.name]) == 3
    assert stored["connections"][OURS.name]["8"][0]["rate"] == 5_000
    assert {"measure", "met", "samples"} <= stored["goals"][0].keys()
