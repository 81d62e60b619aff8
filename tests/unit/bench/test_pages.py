"""Charts and figures in the README and the docs."""

from pathlib import Path

import pytest

from bench import pages
from bench.contestants import CONSTANTS, DEMO, OURS, WEBDIS

ROOT = Path(__file__).parents[3]


@pytest.fixture
def site(tmp_path):
    """Return a folder with the pages of this project."""
    (tmp_path / "docs").mkdir()
    for name in ("README.md", "docs/performance.md"):
        (tmp_path / name).write_text((ROOT / name).read_text("utf-8"), "utf-8")
    return tmp_path


def test_write_pages_and_charts(site, make_report, make_load):
    """The pages and the charts get the figures of the report."""
    rates = {OURS.name: 54_321, DEMO.name: 3_000, WEBDIS.name: 60_000}
    sweep = {
        WEBDIS.name: {1: [make_load(7_001)], 2000: [make_load(0, failed=3)]},
        OURS.name: {1: [make_load(8_002)], 2000: [make_load(6_003)]},
    }
    pages.write(make_report(rates, sweep=sweep), site)
    readme = (site / "README.md").read_text("utf-8")
    performance = (site / "docs" / "performance.md").read_text("utf-8")
    assert "18 times as many as the classic demo" in readme
    assert "0.91 times as many as webdis" in readme
    assert "](docs/bench.svg)" in readme
    assert "| **flask-redis-counter** | **54,321** |" in performance
    assert "](bench.svg)" in performance
    assert ">54,321<" in (site / "docs" / "bench.svg").read_text("utf-8")
    assert f"{OURS.name} 8,002 / 6,003; {WEBDIS.name} 7,001 / 0 (3 errors)" in performance
    lines = (site / "docs" / "bench-connections.svg").read_text("utf-8")
    assert f"{OURS.name} 8,002 / 6,003" in lines


def test_as_many_as_webdis(site, make_report, make_load):
    """A ratio that is 1.0 when rounded is not called a factor."""
    sweep = {OURS.name: {1: [make_load(1)]}, WEBDIS.name: {1: [make_load(1)]}}
    pages.write(make_report({OURS.name: 60_000, WEBDIS.name: 60_100}, sweep=sweep), site)
    text = (site / "README.md").read_text("utf-8")
    assert "and as many as webdis" in text


def test_write_twice(site, make_report, make_load):
    """Writing the same report again changes nothing."""
    report = make_report({}, sweep={OURS.name: {1: [make_load(8_002)]}})
    pages.write(report, site)
    before = (site / "docs" / "performance.md").read_text("utf-8")
    pages.write(report, site)
    assert (site / "docs" / "performance.md").read_text("utf-8") == before


def test_rates_of_the_best_constant(make_report):
    """Charts and tables have the fastest constant view only."""
    best = CONSTANTS[1].name
    found = pages.rates(make_report({best: 9_000}))
    assert found[best] == 9_000
    assert not {each.name for each in CONSTANTS} - {best} & found.keys()


def test_fill_unknown_block():
    """A block without a text is an error that names it."""
    with pytest.raises(KeyError, match="other"):
        pages.fill("<!-- bench: other -->\nx\n<!-- bench ends -->", {"one": "1"})


def test_fill_empty_block():
    """A block may be empty, and two blocks are filled separately."""
    page = "".join(f"<!-- bench: {name} -->\n<!-- bench ends -->\n" for name in ("one", "two"))
    filled = pages.fill(page, {"one": "1", "two": "2"})
    assert filled == page.replace("one -->", "one -->\n1").replace("two -->", "two -->\n2")


def test_fill_keeps_the_rest():
    """Text outside of the blocks stays, and images get the prefix of the page."""
    page = "a\n<!-- bench: one -->\nold\ntext\n<!-- bench ends -->\nb [c](d)\n"
    assert pages.fill(page, {"one": "![x](y.svg)"}, images="docs/") == (
        "a\n<!-- bench: one -->\n![x](docs/y.svg)\n<!-- bench ends -->\nb [c](d)\n"
    )


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(17.96, "18"), (9.96, "10"), (9.94, "9.9"), (1.0, "1.0"), (0.996, "1.0"), (0.931, "0.93")],
)
def test_times_has_two_digits(ratio, text):
    """times returns a factor with two significant digits."""
    assert pages.times(ratio) == text
