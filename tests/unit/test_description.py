"""The description of the package on an index, which setup.py makes of the README."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
URL = "https://code.example.org/counters/flask-redis-counter"
SETUP = runpy.run_path(str(ROOT / "setup.py"), run_name="setup")


def test_hosted_metadata_absolute_links():
    """Each link and image of the description has a host, and leads to a file of the version."""
    metadata = SETUP["hosted_metadata"](ROOT, URL)
    version = metadata["project_urls"]["Changelog"].split("/")[-2]
    text = metadata["long_description"]
    assert f"![A page that says: you are visit number 41,337]({URL}/raw/{version}/docs/" in text
    assert f"[Guarantees]({URL}/blob/{version}/docs/guarantees.md)" in text
    assert SETUP["_RELATIVE"].search(text) is None
    for url in metadata["project_urls"].values():
        assert url.startswith(URL)


def test_hosted_metadata_without_address():
    """hosted_metadata returns nothing without PROJECT_URL: the README stays as it is."""
    assert SETUP["hosted_metadata"](ROOT, "") == {}


@pytest.mark.parametrize("url", ["code.example.org/a/b", "https://code.example.org", "git@a:b/c"])
def test_hosted_metadata_invalid_address(url):
    """hosted_metadata rejects an address that is not a repository's web page."""
    with pytest.raises(SystemExit, match="PROJECT_URL"):
        SETUP["hosted_metadata"](ROOT, url)


def test_absolute_links_leave_others():
    """absolute_links changes neither absolute links nor anchors."""
    text = "[a](https://a.example/b) [c](#d) <http://127.0.0.1:5000> [e](mailto:f@g.example)"
    assert SETUP["absolute_links"](text, URL, "1.0") == text
