import os

import pytest

# Tests speak plain http on loopback, and stop the viewer at failpoints.
os.environ["VIEWER_ENV"] = "development"

pytest.register_assert_rewrite("tests.support")  # its assertions explain themselves, too
