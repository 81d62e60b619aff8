"""The bill of materials that `nox -s sbom` has written, against what is locked."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
OURS = "flask-redis-counter"

#: What says of its licence no more than its text, MIT's.
UNTOLD = {"crawler-user-agents"}


@pytest.fixture(scope="module")
def bill():
    """The document."""
    return json.loads((ROOT / "artifacts" / "sbom.cdx.json").read_text("utf-8"))


def locked():
    """Return the version of each distribution that the lock file has for a Python like ours."""
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    pins = [
        line.rstrip(" \\") for line in lines if "==" in line and not line.startswith((" ", "#"))
    ]
    requirements = [Requirement(pin) for pin in pins]
    return {
        one.name: str(one.specifier).removeprefix("==")
        for one in requirements
        if one.marker is None or one.marker.evaluate()
    }


def test_it_names_what_is_locked_and_nothing_else(bill):
    """Each distribution of the image with its version, flask, redis and granian among them."""
    named = {canonicalize_name(one["name"]): one["version"] for one in bill["components"]}
    assert {"flask", "redis", "granian", OURS} <= set(named)
    assert named == {**locked(), OURS: version(OURS)}


def test_tools_can_use_it(bill):
    """It says what format it has, what each thing is called elsewhere, and under which licence."""
    assert bill["bomFormat"] == "CycloneDX"
    for one in bill["components"]:
        name = canonicalize_name(one["name"])
        assert one["purl"].startswith(f"pkg:pypi/{name}@{one['version']}"), one
        assert ("licenses" in one) == (name not in UNTOLD), name


def test_it_says_what_needs_what(bill):
    """Ours needs flask and redis; nothing hangs in the air."""
    needs = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    references = {one["bom-ref"]: one["name"].lower() for one in bill["components"]}
    [ours] = [reference for reference, name in references.items() if name == OURS]
    assert {"flask", "redis"} <= {references[needed] for needed in needs[ours]}
    assert {needed for each in needs.values() for needed in each} <= set(references)


def test_it_says_nothing_of_the_machine(bill):
    """No path of the machine that wrote it."""
    assert "file:" not in json.dumps(bill)
