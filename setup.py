"""What depends on where the project is hosted; all other metadata is in setup.cfg."""

from __future__ import annotations

import configparser
import os
import re
from pathlib import Path

#: A link or an image of Markdown with a relative target.
_RELATIVE = re.compile(r"(!?)\[([^]]*)\]\((?![a-z]+:|#)([^)\s]+)\)")


def absolute_links(markdown: str, project_url: str, version: str) -> str:
    """Return Markdown whose relative links lead to the files of a version in the repository.

    PyPI shows the description apart from the files that it links to.
    """

    def replace(found: re.Match[str]) -> str:
        bang, text, target = found.groups()
        return f"{bang}[{text}]({project_url}/{'raw' if bang else 'blob'}/v{version}/{target})"

    return _RELATIVE.sub(replace, markdown)


def project_links(project_url: str, version: str) -> dict[str, str]:
    """Return the links that PyPI shows beside the description."""
    return {
        "Source": project_url,
        "Documentation": f"{project_url}/blob/v{version}/docs/index.md",
        "Changelog": f"{project_url}/blob/v{version}/CHANGELOG.md",
        "Issues": f"{project_url}/issues",
    }


def hosted_metadata(root: Path, project_url: str) -> dict[str, object]:
    """Return the arguments of setup() that hold the project's address; none without an address."""
    if not project_url:
        return {}
    if not re.fullmatch(r"https://[\w.-]+(/[\w.-]+)+", project_url):
        raise SystemExit(f"PROJECT_URL is not the address of a repository: {project_url}")
    settings = configparser.ConfigParser()
    settings.read(root / "setup.cfg", "utf-8")
    version = settings["metadata"]["version"]
    readme = (root / "README.md").read_text("utf-8")
    return {
        "long_description": absolute_links(readme, project_url, version),
        "long_description_content_type": "text/markdown",
        "project_urls": project_links(project_url, version),
    }


if __name__ == "__main__":
    from setuptools import setup

    setup(**hosted_metadata(Path(__file__).parent, os.environ.get("PROJECT_URL", "").rstrip("/")))
