"""The nightly check repairs from the backups of the settings, before it asks the provider."""

import pytest
import sqlalchemy as sa

from tests.support import stored_files
from tests.support.damage import harm
from tests.upkeep.backup.conftest import overwrite
from viewer import holdings
from viewer.extensions import db
from viewer.models import AuditEntry, MediaAttachment
from viewer.upkeep import verify

State = MediaAttachment.State
CONTENT = b"\xff\xd8 a crack in the wall"


@pytest.fixture
def settings(settings, place, tmp_path):
    return settings | {"BACKUP_TARGETS": f"{tmp_path / 'nowhere'},{place}"}


def check() -> verify.Result:
    return verify.verify(holdings.own_id(), everything=True)


def told() -> list[str]:
    found = db.session.scalars(sa.select(AuditEntry.words).filter_by(action="repair")).all()
    db.session.commit()
    return list(found)


def test_a_damaged_original_comes_from_the_pool(keep, back_up, tmp_path):
    photo = keep(CONTENT)  # the provider has no address for it
    back_up()
    harm(tmp_path / "photos" / photo.file_path, "flipped")

    result = check()

    assert (result.repaired, result.damaged) == (1, 0)
    assert (tmp_path / "photos" / photo.file_path).read_bytes() == CONTENT
    assert told() == ["Its bytes came from the backup."]


def test_k9_an_original_that_is_gone_comes_from_under_the_key_of_an_older_snapshot(
    keep, back_up, tmp_path, place
):
    """Its own place in the pool is empty; another key had the same bytes once."""
    older = keep(CONTENT)
    back_up()
    photo = keep(CONTENT)
    db.session.execute(sa.delete(MediaAttachment).filter_by(id=older.id))
    db.session.commit()
    (tmp_path / "photos" / photo.file_path).unlink()

    assert check().repaired == 1
    assert (tmp_path / "photos" / photo.file_path).read_bytes() == CONTENT


def test_k32_where_the_backup_is_wrong_too_the_next_source_is_asked(
    keep, back_up, tmp_path, place, provider
):
    photo = keep(CONTENT, openphone_url=provider.serve(CONTENT))
    back_up()
    overwrite(place / "media" / photo.file_path, b"flipped")
    harm(tmp_path / "photos" / photo.file_path, "flipped")

    assert check().repaired == 1
    assert (tmp_path / "photos" / photo.file_path).read_bytes() == CONTENT
    assert told() == ["Its bytes were downloaded from the phone provider again."]


def test_k32_where_all_are_wrong_it_stays_damaged(keep, back_up, tmp_path, place):
    photo = keep(CONTENT)
    back_up()
    overwrite(place / "media" / photo.file_path, b"flipped")
    harm(tmp_path / "photos" / photo.file_path, "flipped")

    result = check()

    assert (result.repaired, result.damaged) == (0, 1)
    assert stored_files.row(photo.id).state is State.DAMAGED
    assert list((tmp_path / "photos" / ".incoming").iterdir()) == []


def test_the_store_before_is_asked_first(keep, back_up, tmp_path):
    before = stored_files.other_store(tmp_path / "before")
    photo = keep(CONTENT, former_storage=before.id)
    stored_files.place(CONTENT, photo.file_path, holdings.spool(), holdings.store(before.id))
    back_up()
    harm(tmp_path / "photos" / photo.file_path, "flipped")

    check()

    assert told() == ["Its bytes came from the store it was in before."]


def test_the_backup_of_another_viewer_is_not_read(keep, back_up, tmp_path, settings, place, app):
    photo = keep(CONTENT)
    back_up()
    marker = (place / ".viewer-backup").read_text()
    (place / ".viewer-backup").write_text(marker[:-1] + ("0" if marker[-1] != "0" else "1"))
    harm(tmp_path / "photos" / photo.file_path, "flipped")

    assert check().repaired == 0
