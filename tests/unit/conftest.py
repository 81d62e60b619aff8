"""How the unit tests are loaded."""

import pytest

# Their assertions are to say as much as those of the tests themselves.
pytest.register_assert_rewrite(
    f"{__package__}.counting.model", f"{__package__}.counting.fake_server"
)
