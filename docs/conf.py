"""How Sphinx builds the docs: ``nox -s docs``."""

import sys
from importlib import import_module
from importlib.metadata import version as installed
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

sys.path.append(str(Path(__file__).parents[1]))  # for tools; the package is the installed one

from tools.reference import fill_references

project = "flask-redis-counter"
author = "The flask-redis-counter developers"
copyright = author  # noqa: A001  # Sphinx calls it that
version = release = installed(project)

extensions = ["myst_parser", "sphinx.ext.autodoc"]
nitpicky = True
# The build works offline: references to other packages and to private names are not links.
nitpick_ignore_regex = [
    ("py:.*", r"(?!flask_redis_counter).*"),
    ("py:mod", ".*"),
    ("py:class", r".*\.(_[A-Z]|Result|ProxyControl|CounterOptions)"),
]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80

# Public module of each name. Errors are described in `errors`, also those that the root exports.
PUBLIC_MODULES = {
    name: module
    for module in (
        "flask_redis_counter",
        "flask_redis_counter.errors",
        "flask_redis_counter.transfer",
        "flask_redis_counter.stats",
    )
    for name in import_module(module).__all__
}

html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_favicon = "../flask_redis_counter/web/static/img/icon.svg"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#b5321a", "color-brand-content": "#b5321a"},
    "dark_css_variables": {"color-brand-primary": "#ff8a68", "color-brand-content": "#ff8a68"},
}

linkcheck_anchors = False  # some pages make theirs with scripts


def _fill(app: Sphinx, name: str, source: list[str]) -> None:
    source[0] = fill_references(source[0])


def _find_public(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """Resolve a name in the module that defines it to the public module that exports it."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    name = target.rpartition(".")[2]
    module = PUBLIC_MODULES.get(name, "flask_redis_counter")
    if ".testing." in target:
        module = "flask_redis_counter.testing"
    domain = env.get_domain("py")
    public = f"{module}.{name}"
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", public, node, content)


def setup(app: Sphinx) -> None:
    """Insert the generated references, and resolve names in their public modules."""
    app.connect("source-read", _fill)
    app.connect("missing-reference", _find_public)
