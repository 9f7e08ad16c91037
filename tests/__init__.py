import pytest

pytest.register_assert_rewrite("tests.support")  # its assertions explain themselves, too
