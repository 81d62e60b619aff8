"""The table of what was covered."""

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
    """Make the table of some sessions' results."""

    def make(**files):
        folder = tmp_path / "artifacts" / "junit"
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            if text is not None:  # else what is there already
                (folder / f"{name}.xml").write_text(text)
        listed = [{"session": name, "python": None} for name in (*files, "nobody")]
        sessions = json.dumps([*listed, {"session": "tests-3.99", "python": "3.99"}])
        command = [sys.executable, "-m", "tools.matrix"]
        environment = {"PYTHONPATH": str(ROOT)}
        return subprocess.run(
            command, input=sessions, text=True, capture_output=True, cwd=tmp_path, env=environment
        )

    return make


def test_results_of_all_kinds(table, tmp_path):
    """What passed, failed and was skipped, and what nobody has run and why; a failure fails it."""
    ended = table(e2e=XML, image=XML)
    assert ended.returncode == 1
    rows = [" ".join(line.split()) for line in ended.stdout.splitlines()]
    assert rows[1] == "e2e 1 2 2 13 2x no | Docker"
    assert rows[3] == "nobody not run"
    assert rows[4] == "tests-3.99 not run: no Python 3.99 here"
    assert rows[5] == "all 2 4 4 25"
    markdown = (tmp_path / "artifacts" / "matrix.md").read_text().splitlines()
    assert markdown[2] == "| e2e | 1 | 2 | 2 | 13 | 2x no \\| Docker |"
    assert markdown[4].startswith("| nobody |")
    assert (
        "<td>e2e<td>1<td>2<td>2<td>13<td>2x no | Docker"
        in (tmp_path / "artifacts" / "matrix.html").read_text()
    )


def test_a_module_that_was_skipped(table):
    """Why is in the text alone."""
    said = "('test_it.py', 15, \"Skipped: could not import 'x': No module named 'x'\")"
    skipped = f'<skipped message="collection skipped">{said}</skipped>'
    suite = f'<testsuite time="1"><testcase>{skipped}</testcase></testsuite>'
    ended = table(e2e=f"<testsuites>{suite}</testsuites>")
    assert "1x could not import 'x': No module named 'x'\n" in ended.stdout


def test_a_broken_file_has_failed(table):
    """A run that was cut off is no success."""
    ended = table(e2e="<testsuites>")
    assert ended.returncode == 1
    assert "e2e.xml is broken" in ended.stdout


def test_all_is_well(table):
    """Nothing failed."""
    passed = [line for line in XML.splitlines(True) if 'message="no"' not in line]
    ended = table(e2e="".join(passed))
    assert ended.returncode == 0
    assert ended.stdout.splitlines()[1].split()[1:4] == ["1", "0", "2"]


def test_results_that_the_code_has_outlived_are_said_to_be_old(table, tmp_path):
    """Nobody takes them for a proof of what is there now."""
    module = tmp_path / "flask_redis_counter" / "state.py"
    module.parent.mkdir()
    module.touch()
    os.utime(module, (1, 1))
    assert "older" not in table(e2e=XML).stdout
    os.utime(tmp_path / "artifacts" / "junit" / "e2e.xml", (0, 0))
    assert "older than the code; 2x no" in table(e2e=None).stdout
