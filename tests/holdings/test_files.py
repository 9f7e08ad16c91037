"""Rows meet stores: the size is compared at each opening, and a former store still serves."""

import threading
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.alarms import alarms_beside_setup
from tests.support.damage import harm
from tests.support.pictures import picture
from tests.support.stored_files import keep, other_store, path_of, place
from viewer import holdings
from viewer.extensions import db
from viewer.holdings import Finding, WrongSize
from viewer.models import Checkpoint, MediaAttachment, RegisteredStore
from viewer.storage import Missing, Store, Unavailable


@pytest.fixture
def elsewhere(app: Flask, tmp_path: Path) -> tuple[uuid.UUID, Store]:
    """A second store that this host reaches."""
    row = other_store(tmp_path / "second")
    return row.id, holdings.store(row.id)


def test_an_original_of_another_size_is_never_opened(app: Flask) -> None:
    content = picture()
    media = keep(content)
    with path_of(media).open("ab") as file:
        file.write(b"x")

    with pytest.raises(WrongSize, match=f"has {len(content) + 1} bytes, not {len(content)}"):
        holdings.open_file(media, media.file_path)
    with pytest.raises(WrongSize):
        holdings.open_file(media, media.file_path, 10, 5)
    with pytest.raises(WrongSize):
        holdings.find_original(media)
    assert holdings.check_file(media) is Finding.DIFFERENT


@pytest.mark.parametrize("how", ["missing", "cut"])
def test_the_former_store_serves_where_the_rows_own_fails(how, app, elsewhere, caplog) -> None:
    content = picture()
    identity, second = elsewhere
    media = keep(content)
    place(content, media.file_path, holdings.spool(), second)
    media.former_storage = identity
    db.session.commit()
    harm(path_of(media), how)

    with holdings.open_file(media, media.file_path) as file:
        assert file.read() == content
    assert holdings.find_original(media) is second
    assert f"media={media.id} is read from its former store" in caplog.text


def test_fallback_reads_are_recorded_once_a_minute_and_forgotten_after_a_day(
    app, elsewhere, time_machine_at
) -> None:
    """Also by somebody who holds SQLite's write lock meanwhile."""
    media = keep(former_storage=elsewhere[0])
    place(picture(), media.file_path, holdings.spool(), elsewhere[1])
    path_of(media).unlink()
    db.session.execute(sa.update(MediaAttachment).values(caption=None))  # the write lock is ours

    for _ in range(5):
        holdings.open_file(media, media.file_path).close()
    threads = [one for one in threading.enumerate() if one.name == "fallback"]
    db.session.commit()
    for thread in threads:
        thread.join()

    assert len(threads) == 1
    mark = db.session.get(Checkpoint, holdings.fallbacks.CHECKPOINT)
    assert mark is not None
    [alarm] = [one for one in alarms_beside_setup(None) if one.name == "fallback_reads"]
    assert alarm.level == "attention"
    assert "elsewhere than the store that should have them, last" in alarm.words
    with time_machine_at(mark.updated_at + timedelta(hours=25)):
        assert "fallback_reads" not in {one.name for one in alarms_beside_setup(None)}


def test_an_original_is_read_from_this_hosts_disk_while_it_is_still_there(app, elsewhere) -> None:
    """It is the nearest, and costs nothing."""
    media = keep()
    media.storage, media.former_storage = elsewhere[0], holdings.own_id()
    db.session.commit()

    assert holdings.find_original(media) is holdings.own()


def test_while_one_store_does_not_answer_nobody_calls_the_file_missing(
    app, elsewhere, tmp_path
) -> None:
    identity, _ = elsewhere
    media = keep()
    media.storage, media.former_storage = identity, holdings.own_id()
    db.session.commit()
    (tmp_path / "second" / ".viewer-store").unlink()
    path_of(media).unlink()

    with pytest.raises(Unavailable):
        holdings.open_file(media, media.file_path)


def test_a_folder_of_another_host_is_not_looked_for_here(app: Flask) -> None:
    row = RegisteredStore(kind=RegisteredStore.Kind.FOLDER, address="/srv/elsewhere")
    db.session.add(row)
    db.session.commit()

    with pytest.raises(Unavailable, match="that this host does not have"):
        holdings.store(row.id)


def test_a_row_without_bytes_is_missing_and_not_an_error(app: Flask) -> None:
    media = keep(state=MediaAttachment.State.PENDING, storage=None, downloaded_at=None)

    with pytest.raises(Missing):
        holdings.open_file(media, media.file_path)
