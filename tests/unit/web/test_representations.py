"""The JSON document of a counter's value."""

import json

from hypothesis import given
from hypothesis import strategies as st

from flask_redis_counter.validation import MAX_VALUE, MIN_VALUE, NAME
from flask_redis_counter.web.representations import render_json


@given(st.from_regex(NAME, fullmatch=True), st.integers(MIN_VALUE, MAX_VALUE), st.booleans())
def test_render_json(name, value, counted):
    """render_json formats by hand, and returns valid JSON."""
    document = render_json(name, value, counted=counted)
    assert json.loads(document) == {"name": name, "value": value, "counted": counted}
