"""Options of `flask-redis-counter import`."""

import click
import pytest

from flask_redis_counter.cli.import_options import ImportOptions

DEFAULTS = {
    "file": None,
    "form": None,
    "url": None,
    "match": None,
    "strip": "",
    "key": None,
    "name": None,
    "source": None,
    "add": False,
    "replace": False,
    "skip_bad": False,
    "as_json": False,
}


def parse(**given):
    """Parse options, with the defaults of the command line."""
    return ImportOptions.parse(**DEFAULTS | given)


@pytest.mark.parametrize(
    ("given", "on_conflict"),
    [({}, "skip"), ({"add": True}, "add"), ({"replace": True}, "replace")],
)
def test_parse_on_conflict(given, on_conflict):
    """--add and --replace choose what happens to counters that exist."""
    assert parse(url="redis://a", match="*", **given).on_conflict == on_conflict


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "either a FILE or from --redis"),
        ({"file": __file__, "url": "redis://a", "match": "*"}, "either a FILE or from --redis"),
        ({"file": __file__, "name": "a"}, "are for --redis"),
        ({"url": "redis://a"}, "--match or --key"),
        ({"url": "redis://a", "match": "*", "key": "a"}, "--match or --key"),
        ({"url": "redis://a", "match": "*", "form": "csv"}, "without --format"),
        ({"url": "redis://a", "match": "*", "name": "a"}, "--name with --key"),
        ({"url": "redis://a", "key": "a", "strip": "a"}, "--strip goes with --match"),
        ({"file": __file__, "add": True, "replace": True}, "not both"),
        ({"file": "-"}, "name the source with --source"),
        ({"file": __file__, "source": ""}, "--source is empty"),
    ],
)
def test_parse_options_that_do_not_go_together(given, message):
    """Options that do not go together raise a usage error."""
    with pytest.raises(click.UsageError, match=message):
        parse(**given)
