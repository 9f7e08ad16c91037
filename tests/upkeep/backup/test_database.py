"""The copy of the database is whole, or there is no backup."""

import os
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.upkeep.backup.conftest import newest
from viewer.extensions import db, sqlite_driver
from viewer.models import MediaAttachment, UpkeepRun
from viewer.upkeep.backup import database
from viewer.upkeep.backup.dump import NoCopy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "copy").mkdir()
    return tmp_path / "copy"


def test_the_copy_is_one_file_that_needs_no_log_beside_it(keep, folder):
    keep()
    with database.copied(folder) as copy:
        assert [path.name for path in folder.iterdir()] == ["database.sqlite3"]
        assert copy.connection.scalar(sa.select(sa.func.count()).select_from(MediaAttachment)) == 1
        assert copy.facts()["tables"]["media_attachments"] == 1
        assert copy.facts()["revision"]
    plain = sqlite_driver.connect(folder / "database.sqlite3")
    assert plain.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    plain.close()


def test_what_is_written_after_the_copy_is_not_in_its_list(keep, folder):
    keep()
    with database.copied(folder) as copy:
        keep(b"later")
        assert copy.connection.scalar(sa.select(sa.func.count()).select_from(MediaAttachment)) == 1


def test_k41_a_corrupt_page_makes_no_snapshot(keep, back_up, place, found, tmp_path):
    keep()
    assert back_up().is_good
    page = _page_of("messages")
    db.engine.dispose()  # the last connection empties the log
    with (tmp_path / "viewer.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(os.urandom(4096))

    result = back_up()

    assert result.outcome is UpkeepRun.Outcome.BAD
    assert result.words.startswith("The database ")
    assert [one.number for one in found().complete] == [1]
    assert newest(place).name.startswith("000001-")


def _page_of(table: str) -> int:
    query = "SELECT rootpage FROM sqlite_master WHERE name = :name"
    page = db.session.scalar(sa.text(query), {"name": table})
    db.session.commit()
    assert page is not None
    return int(page)


def test_a_row_that_refers_to_none_is_damage(keep, folder):
    media = keep()
    with db.engine.connect() as connection:
        driver = connection.connection.driver_connection
        driver.execute("PRAGMA foreign_keys = OFF")
        driver.execute("UPDATE media_attachments SET message_id = ?", ("0" * 32,))
        driver.execute("PRAGMA foreign_keys = ON")
    assert media.id

    with (
        pytest.raises(NoCopy, match="a row of media_attachments refers to none"),
        database.copied(folder),
    ):
        pass
