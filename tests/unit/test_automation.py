"""The files that CI, pre-commit and the docs' host read agree with the noxfile and setup.cfg."""

import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOXFILE = (ROOT / "noxfile.py").read_text("utf-8")
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", "utf-8")

workflows = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def test_workflows_exist():
    """The other tests have something to check."""
    assert {path.stem for path in WORKFLOWS} == {"ci", "release"}


@workflows
def test_workflow_actions_pinned(path):
    """Each action is pinned by the hash of a commit, with its version as a comment."""
    text = path.read_text("utf-8")
    uses = re.findall(r"uses: (.*)", text)
    assert uses
    for action in uses:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", action), action


@workflows
def test_workflow_actions_have_one_version(path):
    """An action has the same pin in each workflow."""
    pins = {}
    for other in WORKFLOWS:
        pins.update(re.findall(r"uses: ([\w./-]+)(@.*)", other.read_text("utf-8")))
    for name, pin in re.findall(r"uses: ([\w./-]+)(@.*)", path.read_text("utf-8")):
        assert pins[name] == pin


@workflows
def test_workflow_sessions_exist(path):
    """Each session that a workflow runs is in the noxfile."""
    sessions = set(re.findall(r"^def (\w+)\(session", NOXFILE, re.M))
    text = path.read_text("utf-8")
    named = re.findall(r"^ +session: \[(.*)\]$", text, re.M)
    named += [found.replace(" ", ", ") for found in re.findall(r"nox -s ([a-z ]+[a-z])", text)]
    assert named
    for name in ", ".join(named).split(", "):
        assert name.strip('"').partition("(")[0] in sessions, name


def test_ci_pythons_complete():
    """The matrix of CI has each Python of the classifiers."""
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    matrix = re.search(r"^ +python: \[(.*)\]$", text, re.M)
    classifiers = re.findall(r"Python :: (3\.\d+)", SETUP["metadata"]["classifiers"])
    assert re.findall(r"3\.\d+", matrix[1]) == classifiers


def test_pre_commit_versions():
    """pre-commit runs the linters in the versions of the noxfile."""
    text = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    versions = re.findall(r'additional_dependencies: \["(.*)"\]', text)
    assert versions
    linters = re.search(r"^LINTERS = \[(.*?)\]", NOXFILE, re.M | re.S)
    assert set(versions) <= set(re.findall('"(.*?)"', linters[1]))
