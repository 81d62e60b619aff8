"""The check of the public API's types."""

import runpy
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).parents[3]

# Not by its name: with the folder of the checkout on the path, the package there would be tested.
public_types = SimpleNamespace(**runpy.run_path(str(ROOT / "tools" / "public_types.py")))


def report_of(**known):
    """Return a report of pyright, with a diagnostic for each name whose type is not known."""
    symbols = [
        {
            "name": name,
            "isTypeKnown": is_known,
            "diagnostics": [] if is_known else [{"message": "Type is\n  missing"}],
        }
        for name, is_known in known.items()
    ]
    return {"typeCompleteness": {"symbols": symbols}}


def test_incomplete_symbols_complete_report():
    """incomplete_symbols yields nothing if the public names have types; others do not matter."""
    report = report_of(public=True, private=False)
    assert list(public_types.incomplete_symbols(report, {"public"})) == []


def test_incomplete_symbols_names_causes():
    """incomplete_symbols yields the public name, and each symbol that may be the cause."""
    report = report_of(public=False, private=False, fine=True)
    assert list(public_types.incomplete_symbols(report, {"public", "fine"})) == [
        "public: incomplete type",
        "  public: Type is missing",
        "  private: Type is missing",
    ]


def test_incomplete_symbols_missing_name():
    """incomplete_symbols yields a public name that pyright has not found."""
    assert list(public_types.incomplete_symbols(report_of(), {"gone"})) == [
        "gone: not found by pyright"
    ]


def test_public_names_have_their_modules():
    """public_names returns qualified names of the root and of its public modules."""
    names = public_types.public_names()
    assert {"flask_redis_counter.Hit", "flask_redis_counter.stats.Overview"} <= names
