"""A restore from each kind of target, onto a machine on which there is nothing."""

import pytest

from tests.upkeep.backup.conftest import hash_of
from tests.upkeep.backup.kinds import access
from tests.upkeep.backup.kinds import kind as kind
from viewer import create_app
from viewer.extensions import db
from viewer.models import MediaAttachment
from viewer.upkeep import identity
from viewer.upkeep.backup import record
from viewer.upkeep.restore import checks, run


@pytest.fixture
def settings(request, settings):
    return settings | access(request)


@pytest.mark.proof
def test_every_original_comes_back(keep, app, kind, settings, tmp_path):
    kept = {one.file_path: one.sha256 for one in (keep(b"one"), keep(b"two"))}
    assert record.back_up(kind.url, same_filesystem=True).is_good
    for name in ("new", "new/data", "new/photos"):
        (tmp_path / name).mkdir()
    places = {"DATA_DIR": tmp_path / "new/data", "MEDIA_ROOT": tmp_path / "new/photos"}
    empty = settings | places | {"DATABASE_URL": f"sqlite:///{tmp_path}/new/viewer.db"}

    machine = create_app(empty)
    with machine.app_context():
        result = run.restore(
            checks.make_plan(kind.url, None), lambda more: create_app(empty | more)
        )
        db.session.remove()
        db.engine.dispose()
    with create_app(empty).app_context():
        identity.ensure()
        rows = {one.file_path: one.sha256 for one in db.session.query(MediaAttachment)}
        db.session.remove()
        db.engine.dispose()

    assert result.is_whole
    assert rows == kept
    assert {key: hash_of(tmp_path / "new/photos" / key) for key in kept} == kept
