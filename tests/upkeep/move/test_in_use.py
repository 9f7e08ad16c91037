"""All files move to a bucket and back under readers and texts, and the move is killed."""

import pytest

from tests.moving import moved_there_and_back


@pytest.mark.proof
def test_nobody_notices_a_move_that_is_killed_on_its_way_back(tmp_path):
    outcome = moved_there_and_back(files=40, size=20_000, kills=1, database_url="", folder=tmp_path)

    assert outcome.wrong == []
    assert outcome.kills == 1
    assert outcome.reads > 0
    assert outcome.files == 40 + outcome.texts
