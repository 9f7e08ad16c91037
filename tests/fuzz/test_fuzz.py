"""A minute of fuzzing, shared by all targets. `python -m tests.fuzz --seconds 3600` is an hour."""

import pytest

from tests.fuzz.runs import fuzz
from tests.fuzz.targets import TARGETS

SECONDS = 60.0


@pytest.mark.proof
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_no_input_raises_what_nobody_expects(target):
    assert fuzz(target, SECONDS / len(TARGETS)) > 0
