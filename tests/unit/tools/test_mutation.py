"""tools.mutation: the score of each module."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

RESULTS = """\
    flask_redis_counter.counting.call.x_one__mutmut_1: killed
    flask_redis_counter.counting.call.x_one__mutmut_2: timeout
    flask_redis_counter.counting.call.x_one__mutmut_3: not checked
    flask_redis_counter.testing.workload.checker.xǁCǁtwo__mutmut_1: survived
    flask_redis_counter.testing.workload.checker.xǁCǁtwo__mutmut_2: killed
    flask_redis_counter.testing.workload.checker.xǁCǁtwo__mutmut_3: no tests
    flask_redis_counter.testing.workload.checker.xǁCǁtwo__mutmut_4: suspicious
"""


@pytest.fixture
def table(tmp_path):
    """Run tools.mutation on results."""

    def make(results, floor):
        command = [sys.executable, "-m", "tools.mutation", str(floor)]
        environment = {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
        return subprocess.run(
            command, input=results, text=True, capture_output=True, cwd=tmp_path, env=environment
        )

    return make


def test_results_of_all_kinds(table, tmp_path):
    """Each module has a score, and mutants that were not killed are named."""
    ended = table(RESULTS, 50)
    assert ended.returncode == 0, ended.stderr
    markdown = (tmp_path / "artifacts" / "mutation.md").read_text("utf-8")
    for text in (ended.stdout, markdown):
        rows = [line.replace("|", " ").split() for line in text.splitlines()]
        assert ["counting.call", "2", "1", "0", "1", "0", "100.0", "%"] in rows
        assert ["testing.workload.checker", "4", "1", "2", "0", "1", "25.0", "%"] in rows
        assert ["all", "6", "2", "2", "1", "1", "50.0", "%"] in rows
        assert "xǁCǁtwo__mutmut_1: survived" in text
        assert "xǁCǁtwo__mutmut_2" not in text


def test_score_below_the_floor(table):
    """A score below the floor is an error that names the floor."""
    ended = table(RESULTS, 51)
    assert ended.returncode == 1
    assert "below 51 %" in ended.stderr


def test_no_results(table):
    """The exit code is 1 if no mutants were tested."""
    assert table("", 0).returncode == 1
