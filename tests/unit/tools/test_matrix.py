"""tools.matrix: the table of the results of all sessions."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

XML = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" time="12.6">
<testcase classname="a" name="one" time="1"/>
<testcase classname="a" name="two" time="1"><failure message="no">no</failure></testcase>
<testcase classname="a" name="three" time="1"><error message="no">no</error></testcase>
<testcase classname="a" name="four" time="0"><skipped message="no | Docker">a</skipped></testcase>
<testcase classname="a" name="five" time="0"><skipped message="no | Docker">b</skipped></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def table(tmp_path):
    """Run tools.matrix on results."""

    def make(**files):
        folder = tmp_path / "artifacts" / "junit"
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            if text is not None:  # else the existing file is kept
                (folder / f"{name}.xml").write_text(text)
        listed = [{"session": name, "python": None} for name in (*files, "missing")]
        sessions = json.dumps([*listed, {"session": "tests-3.99", "python": "3.99"}])
        command = [sys.executable, "-m", "tools.matrix"]
        environment = {"PYTHONPATH": str(ROOT)}
        return subprocess.run(
            command, input=sessions, text=True, capture_output=True, cwd=tmp_path, env=environment
        )

    return make


def test_results_of_all_kinds(table, tmp_path):
    """The table has results, skips and sessions that have not run; a failure sets the exit code."""
    ended = table(e2e=XML, image=XML)
    assert ended.returncode == 1
    rows = [" ".join(line.split()) for line in ended.stdout.splitlines()]
    assert rows[1] == "e2e 1 2 2 13 2x no | Docker"
    assert rows[3] == "missing not run"
    assert rows[4] == "tests-3.99 not run: Python 3.99 is not installed"
    assert rows[5] == "all 2 4 4 25"
    markdown = (tmp_path / "artifacts" / "matrix.md").read_text().splitlines()
    assert markdown[2] == "| e2e | 1 | 2 | 2 | 13 | 2x no \\| Docker |"
    assert markdown[4].startswith("| missing |")
    assert (
        "<td>e2e<td>1<td>2<td>2<td>13<td>2x no | Docker"
        in (tmp_path / "artifacts" / "matrix.html").read_text()
    )


def test_reason_of_a_skipped_module(table):
    """The reason of a skipped module is read from the text."""
    said = "('test_it.py', 15, \"Skipped: could not import 'x': No module named 'x'\")"
    skipped = f'<skipped message="collection skipped">{said}</skipped>'
    suite = f'<testsuite time="1"><testcase>{skipped}</testcase></testsuite>'
    ended = table(e2e=f"<testsuites>{suite}</testsuites>")
    assert "1x could not import 'x': No module named 'x'\n" in ended.stdout


def test_unreadable_results_fail(table):
    """A truncated file of results counts as a failure."""
    ended = table(e2e="<testsuites>")
    assert ended.returncode == 1
    assert "e2e.xml is broken" in ended.stdout


def test_results_without_failures(table):
    """The exit code is 0 without failures."""
    passed = [line for line in XML.splitlines(True) if 'message="no"' not in line]
    ended = table(e2e="".join(passed))
    assert ended.returncode == 0
    assert ended.stdout.splitlines()[1].split()[1:4] == ["1", "0", "2"]


def test_stale_results_are_marked(table, tmp_path):
    """Results older than the code are marked in the table."""
    module = tmp_path / "flask_redis_counter" / "state.py"
    module.parent.mkdir()
    module.touch()
    os.utime(module, (1, 1))
    assert "older" not in table(e2e=XML).stdout
    os.utime(tmp_path / "artifacts" / "junit" / "e2e.xml", (0, 0))
    assert "older than the code; 2x no" in table(e2e=None).stdout
