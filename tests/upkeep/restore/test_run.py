"""A whole viewer comes back onto an empty machine, from the target and the secrets alone."""

import shutil
from datetime import timedelta

import pytest
import sqlalchemy as sa

from tests.conftest import BOTH
from tests.support import stored_files
from tests.support.children import in_child
from tests.support.pictures import noise
from tests.upkeep.backup.conftest import hash_of, newest, overwrite
from viewer import failpoint, holdings
from viewer.extensions import db, now
from viewer.models import MediaAttachment, RegisteredStore, UpkeepRun, UserSession
from viewer.upkeep import identity
from viewer.upkeep.backup import target as targets
from viewer.upkeep.identity import WrongStore
from viewer.upkeep.restore import journal
from viewer.upkeep.restore.checks import CannotRestore

State, CopyState = MediaAttachment.State, MediaAttachment.CopyState


@BOTH
def test_k51_everything_is_there_again_from_the_target_and_the_secrets_alone(
    keep, back_up, machine, app, tmp_path
):
    kept = [keep(f"photo {number}".encode()) for number in range(5)]
    kept.append(keep(b"put away", state=State.TRASHED))
    assert back_up().is_good
    shutil.rmtree(tmp_path / "photos")

    result = machine.restore()

    assert (result.is_whole, result.files, result.right, result.restored) == (True, 6, 6, 6)
    assert result.size == sum(one.file_size for one in kept)
    assert machine.wrong() == []
    rows = {one.id: one for one in machine.rows()}
    assert {one.id: (one.state, one.sha256) for one in kept} == {
        identity: (row.state, row.sha256) for identity, row in rows.items()
    }
    assert not journal.exists(machine.root)
    assert list((machine.root / ".incoming").iterdir()) == []
    with machine.opened():
        assert [run.outcome for run in db.session.query(UpkeepRun).filter_by(kind="restore")] == [
            "good"
        ]
