"""How the unit tests are loaded."""

import pytest

# Their assertions are to say as much as those of the tests themselves.
pytest.register_assert_rewrite(f"{__package__}.combiner_world", f"{__package__}.simulation")
