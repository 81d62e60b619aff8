"""The bill of materials that `nox -s sbom` writes, compared with the locked versions."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
OURS = "flask-redis-counter"

#: Packages whose metadata has the text of their licence (MIT), but not its name.
UNNAMED_LICENCES = {"crawler-user-agents"}


@pytest.fixture(scope="module")
def bill():
    """The bill of materials."""
    return json.loads((ROOT / "artifacts" / "sbom.cdx.json").read_text("utf-8"))


def locked():
    """Return the locked version of each distribution for this Python."""
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


def test_sbom_has_the_locked_versions(bill):
    """The components are the locked distributions and this package, with their versions."""
    named = {canonicalize_name(one["name"]): one["version"] for one in bill["components"]}
    assert {"flask", "redis", "uvloop", OURS} <= set(named)
    assert named == {**locked(), OURS: version(OURS)}


def test_sbom_format(bill):
    """The format is CycloneDX, and each component has a package URL and a licence."""
    assert bill["bomFormat"] == "CycloneDX"
    for one in bill["components"]:
        name = canonicalize_name(one["name"])
        assert one["purl"].startswith(f"pkg:pypi/{name}@{one['version']}"), one
        assert ("licenses" in one) == (name not in UNNAMED_LICENCES), name


def test_sbom_dependencies(bill):
    """This package depends on flask and redis, and each dependency is a component."""
    needs = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    references = {one["bom-ref"]: one["name"].lower() for one in bill["components"]}
    [ours] = [reference for reference, name in references.items() if name == OURS]
    assert {"flask", "redis"} <= {references[needed] for needed in needs[ours]}
    assert {needed for each in needs.values() for needed in each} <= set(references)


def test_sbom_has_no_local_paths(bill):
    """The bill has no path of the machine that wrote it."""
    assert "file:" not in json.dumps(bill)
