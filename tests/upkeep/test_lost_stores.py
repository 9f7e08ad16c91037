"""A store is lost for good: its files come back from wherever they still are."""

import shutil
import uuid

import pytest
import sqlalchemy as sa

from tests.support.pictures import picture
from tests.support.stored_files import keep, other_store, row
from viewer import holdings
from viewer.extensions import db
from viewer.holdings import Finding
from viewer.models import MediaAttachment, RegisteredStore
from viewer.upkeep import lost_stores
from viewer.upkeep.backup import record
from viewer.upkeep.lost_stores import CannotGiveUp

pytestmark = [
    pytest.mark.on_sqlite("names its databases itself"),
    pytest.mark.on_folder("names its stores itself"),
]

State = MediaAttachment.State


@pytest.fixture
def second(app, tmp_path):
    return other_store(tmp_path / "second").id


@pytest.fixture
def settings(settings, tmp_path):
    return settings | {"DATA_DIR": str(tmp_path / "data"), "MEDIA_ROOT": str(tmp_path / "media")}


def lose(tmp_path):
    shutil.rmtree(tmp_path / "second")


def test_what_the_store_before_it_has_is_read_from_there(app, second, tmp_path):
    media = keep(picture(80, 60), with_copies=True)
    holdings.move(media.id, second)
    own = holdings.own_id()
    lose(tmp_path)

    assert (lost_stores.survey(second).elsewhere, lost_stores.survey(second).gone) == (1, 0)
    lost_stores.give_up(second)

    media = row(media.id)
    assert (media.storage, media.former_storage, media.state) == (own, None, State.STORED)
    assert holdings.check_file(media) is Finding.SAME
    assert lost_stores.bring_back(lambda _: None) == (0, 0)
    assert db.session.get(RegisteredStore, second).retired_at is not None


def test_what_is_nowhere_else_is_damaged_until_the_backup_brings_it_back(
    app, second, tmp_path, monkeypatch
):
    target = tmp_path / "backup"
    media = keep(picture(80, 60), with_copies=True)
    holdings.move(media.id, second)
    holdings.clear_former(media.id, row(media.id).moved_at.replace(year=2100))
    assert record.back_up(str(target), same_filesystem=True).is_good
    lose(tmp_path)
    lost_stores.give_up(second)
    assert row(media.id).state is State.DAMAGED
    found = app.config["SETTINGS"].model_copy(update={"BACKUP_TARGETS": (f"folder:{target}",)})
    monkeypatch.setitem(app.config, "SETTINGS", found)

    assert lost_stores.bring_back(lambda _: None) == (1, 0)

    media = row(media.id)
    assert (media.storage, media.state) == (holdings.own_id(), State.STORED)
    assert holdings.check_file(media) is Finding.SAME
    assert media.copy_state is MediaAttachment.CopyState.DUE


def test_what_is_nowhere_at_all_stays_damaged_and_is_counted(app, second, tmp_path):
    media = keep(picture(80, 60))
    holdings.move(media.id, second)
    holdings.clear_former(media.id, row(media.id).moved_at.replace(year=2100))
    lose(tmp_path)
    lost_stores.give_up(second)

    assert lost_stores.bring_back(lambda _: None) == (0, 1)

    assert row(media.id).is_damaged


def test_a_download_that_died_there_begins_anew(app, second, tmp_path):
    media = keep(state=State.NEEDS_ATTENTION, storage=second, downloaded_at=None, sha256="0" * 64)

    lost_stores.give_up(second)

    assert (row(media.id).storage, row(media.id).sha256) == (None, None)


def test_this_hosts_own_folder_is_not_given_up(app):
    with pytest.raises(CannotGiveUp, match="--new-disk"):
        lost_stores.survey(holdings.own_id())


def test_a_store_that_nobody_knows_is_not_given_up(app):
    with pytest.raises(CannotGiveUp, match="There is no store"):
        lost_stores.survey(uuid.uuid4())


def test_twice_is_refused(app, second):
    lost_stores.give_up(second)

    with pytest.raises(CannotGiveUp):
        lost_stores.survey(second)
    assert db.session.scalar(sa.select(RegisteredStore.is_wanted).filter_by(id=second)) is False
