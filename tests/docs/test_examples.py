"""The README and the docs: their code runs, and their commands, files and links exist."""

import asyncio
import inspect
import itertools
import re
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

import flask
import pytest
from sybil import Document
from sybil.parsers.markdown import CodeBlockParser

import flask_redis_counter
from flask_redis_counter.testing import plugin

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
WITH_EXAMPLES = [page for page in PAGES if "```python" in page.read_text("utf-8")]
#: The store's URL in the examples, which is replaced by the URL of the tests' store.
SHOWN = "redis://localhost:6379/0"


pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def run(page, url):
    """Run a page's examples one after the other, as in one module, and return what they define."""

    def evaluate(example):
        source = "\n" * example.line + str(example.parsed).replace(SHOWN, url)
        exec(compile(source, page, "exec"), example.namespace)  # noqa: S102  # what this is for

    document = Document.parse(str(page), CodeBlockParser("python", evaluate))
    document.namespace["__name__"] = "example"
    for example in document:
        example.evaluate()
    return document.namespace


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.name)
def test_the_examples_run(page, store, monkeypatch):
    """The examples run, each view responds, coroutines return, and tests use existing fixtures."""
    monkeypatch.setenv("REDIS_URL", store.url)
    defined = run(page, store.url)
    for value in list(defined.values()):
        if isinstance(value, flask.Flask):
            check_views(value)
        elif inspect.iscoroutinefunction(value):
            asyncio.run(value())
        elif inspect.isfunction(value) and value.__name__.startswith("test_"):
            assert inspect.signature(value).parameters.keys() <= vars(plugin).keys()


def check_views(app):
    """Request each page of an app."""
    client = app.test_client()
    for rule in app.url_map.iter_rules():
        if not rule.arguments:
            method = "GET" if "GET" in rule.methods else "POST"
            assert client.open(rule.rule, method=method).status_code == 200, rule


def test_there_are_examples(store, monkeypatch):
    """The first block of the README is found, and makes an app that counts."""
    monkeypatch.setenv("REDIS_URL", store.url)
    defined = run(ROOT / "README.md", store.url)
    counter = defined["app"].extensions["redis_counter"].counter
    before = counter.value("front-page")
    defined["app"].test_client().get("/")
    assert counter.value("front-page") == before + 1


def test_failing_example_is_reported(tmp_path):
    """A failing example is reported with its own file and line."""
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n```python\nprint(1)\n\nassert SHOWN\n```\n")
    with pytest.raises(NameError) as caught:
        run(page, "redis://nowhere")
    last = caught.traceback[-1]
    assert (Path(last.path), last.lineno + 1) == (page, 6)


@pages
def test_sessions_exist(page):
    """Each session after `nox -s` is in the noxfile."""
    sessions = re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text("utf-8"), re.M)
    for names in re.findall(r"nox -s ((?:[a-z0-9]+(?:-3\.\d+)? ?)+)", page.read_text("utf-8")):
        for name in names.split():
            assert name.partition("-")[0] in sessions


@pages
def test_files_exist(page):
    """Compose files, tests, modules and the targets of relative links exist."""
    text = page.read_text("utf-8")
    for name in re.findall(
        r"(?:-f |`)((?:docker-compose|tests/|deploy/|tools/|flask_redis_counter/)[\w./-]+)", text
    ):
        assert (ROOT / name).exists(), name
    for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)\s]*)?\)", text):
        assert (page.parent / link).exists(), link


@pages
def test_external_links_are_well_formed(page):
    """External links use https and a host with a domain. The session `docs` can request them."""
    for link in re.findall(r"(?:\]\(|<)(https?:[^)>\s]*)[)>]", page.read_text("utf-8")):
        parts = urlsplit(link)
        if parts.hostname not in ("localhost", "127.0.0.1"):
            assert parts.scheme == "https", link
            assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", parts.netloc), link


def test_library_names_exist():
    """Each class, function and member that the page of the library names is in its package."""
    package = flask_redis_counter
    lines = (ROOT / "docs" / "library.md").read_text("utf-8").splitlines()
    for number, line in enumerate(lines):
        if found := re.match(r"\.\. currentmodule:: (\S+)", line):
            package = import_module(found[1])
        elif found := re.match(r"\.\. auto(?:class|function):: (\S+)", line):
            documented = getattr(package, found[1])
            for option in itertools.takewhile(str.strip, lines[number + 1 :]):
                for member in re.findall(r"\w+", option.partition(":members:")[2]):
                    assert hasattr(documented, member), f"{found[1]}.{member}"


def test_every_page_is_in_the_contents():
    """Each page is listed once in the contents."""
    contents = (ROOT / "docs" / "index.md").read_text("utf-8")
    listed = [
        name
        for block in re.findall(r"^```\{toctree\}\n(.*?)^```", contents, re.M | re.S)
        for name in re.findall(r"^([a-z-]+)$", block, re.M)
    ]
    existing = {page.stem for page in PAGES if page.parent == ROOT / "docs"} - {"index"}
    assert sorted(listed) == sorted(existing)


def test_figures_agree_with_the_charts():
    """The alternative texts and the tables in the README and the docs have the charts' figures."""
    readme = (ROOT / "README.md").read_text("utf-8")
    performance = (ROOT / "docs" / "performance.md").read_text("utf-8")
    captions = [re.search(r"!\[Hits a second: (.*?)\]", page)[1] for page in (readme, performance)]
    assert captions[0] == captions[1]
    rates = re.findall(r"(?<= )[\d,]*\d(?=;|$)", captions[0])
    chart = (ROOT / "docs" / "bench.svg").read_text("utf-8")
    assert rates == re.findall(r">([\d,]+)<", chart)
    race = re.search(r"<!-- bench: race -->\n(.*?)<!-- bench ends -->", performance, re.S)[1]
    assert sorted(re.findall(r"^\|.*?\| \**([\d,]+)", race, re.M)) == sorted(rates)
    [title] = re.findall(r"!\[(Hits a second at .*?)\]", performance)
    lines = (ROOT / "docs" / "bench-connections.svg").read_text("utf-8")
    assert f"<title>{title}</title>" in lines
