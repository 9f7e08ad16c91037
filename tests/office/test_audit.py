"""Whatever is written into the audit log can be read in words."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import viewer
from viewer.office import audit

ROOM = Path(viewer.__file__).parent


def noted_actions() -> Iterator[str]:
    """What our code passes to `audit.note`."""
    for file in ROOM.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            if ast.unparse(node.func) == "audit.note":
                assert isinstance(node.args[0], ast.Constant)
                yield node.args[0].value
            elif ast.unparse(node.func) == "note_read" and file.name != "read_counts.py":
                yield ast.literal_eval(node.args[0])


def test_every_action_that_is_noted_has_words_and_no_words_are_left_over():
    assert {*noted_actions(), "login.failed", "access.refused"} == set(audit.ACTIONS)


@pytest.mark.parametrize("action", audit.ACTIONS)
def test_an_action_reads_as_words_in_the_log_and_on_its_page(action):
    for words in (audit.describe_action(action), audit.describe_action_here(action)):
        assert words
        assert words != action


def test_an_action_of_another_version_reads_as_it_is_written():
    assert audit.describe_action("share.add") == "share.add"
    assert audit.describe_action_here("share.add") == "share.add"
