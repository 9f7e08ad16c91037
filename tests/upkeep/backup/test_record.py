"""A backup has every original and the database; it says so only after a comparison."""

import json
import shutil
import stat
import time
from contextlib import closing
from datetime import timedelta

import pytest
import sqlalchemy as sa

from tests.support import stored_files
from tests.support.pictures import noise
from tests.upkeep.backup.conftest import (
    At,
    checked_by_sha256sum,
    hash_of,
    losses,
    newest,
    overwrite,
)
from viewer.extensions import db, now, sqlite_driver
from viewer.models import MediaAttachment, ScheduledTask, UpkeepRun
from viewer.office import trash
from viewer.upkeep import lease, runs
from viewer.upkeep.backup import record
from viewer.upkeep.lease import Busy

State = MediaAttachment.State


def latest() -> UpkeepRun:
    found = runs.latest(runs.Kind.BACKUP)
    db.session.commit()
    assert found is not None
    return found


def test_every_original_and_the_database_are_in_the_target(keep, back_up, place, found):
    kept = [keep(f"photo {number}".encode()) for number in range(3)]
    trashed = keep(b"put away", state=State.TRASHED)

    result = back_up()

    assert (result.is_good, result.snapshot) == (True, 1)
    assert result.words == "Snapshot 1: 4 originals (0.0 MB) covered, 4 new."
    for media in [*kept, trashed]:
        copy = place / "media" / media.file_path
        assert hash_of(copy) == media.sha256
        assert stat.S_IMODE(copy.stat().st_mode) == 0o444
    assert losses(place, newest(place)) == []
    checked_by_sha256sum(place)
    assert [one.is_verified for one in found().complete] == [True]
    assert sorted(path.name for path in newest(place).iterdir()) == [
        "SHA256SUMS", "database.sqlite3", "snapshot.json", "verified.json",
    ]  # fmt: skip


def test_nobody_else_may_read_the_messages_in_it(keep, back_up, place):
    keep()
    back_up()

    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert stat.S_IMODE((newest(place) / "database.sqlite3").stat().st_mode) == 0o400


def test_the_run_is_on_record_with_what_it_covers(keep, back_up, place):
    keep(b"12345")
    back_up()

    run = latest()
    assert (run.subject, run.outcome, run.snapshot) == (f"folder:{place}", "good", 1)
    assert run.counts.items() >= {"files": 1, "bytes": 5, "copied": 1, "snapshots": 1}.items()


def test_the_next_run_copies_what_is_new_and_leaves_the_rest_alone(keep, back_up, place, found):
    first = keep(b"first")
    back_up()
    written = (place / "media" / first.file_path).stat().st_mtime_ns
    keep(b"second")

    result = back_up()

    assert (result.is_good, result.counts["copied"], result.counts["files"]) == (True, 1, 2)
    assert (place / "media" / first.file_path).stat().st_mtime_ns == written
    assert [one.number for one in found().verified] == [1, 2]
    checked_by_sha256sum(place)


def test_thumbnails_are_carried_along_and_replaced_when_they_are_made_anew(app, back_up, place):
    media = stored_files.keep(noise(300, 200, 50), with_copies=True)
    back_up()
    thumbnail = app.config["SETTINGS"].media_root / media.thumbnail_path
    copy = place / "media" / media.thumbnail_path
    assert hash_of(copy) == hash_of(thumbnail)

    overwrite(thumbnail, b"made by a newer version")
    result = back_up()

    assert hash_of(copy) == hash_of(thumbnail)
    assert (result.is_good, result.counts["copied"], result.counts["derivatives"]) == (True, 0, 1)


# --- While it runs -------------------------------------------------------------------------


def test_k34_a_file_that_comes_while_the_backup_runs_is_in_the_next_one(keep, back_up, place):
    keep(b"before")
    assert back_up(progress=At("copying", lambda: keep(b"meanwhile"))).is_good

    assert losses(place, newest(place)) == []
    assert back_up().counts["copied"] == 1


def test_k34_files_first_and_the_database_last_would_lose_one(app, keep, place, tmp_path):
    """The negative control: the same check, after the obvious order of the two copies."""
    keep(b"before")
    shutil.copytree(tmp_path / "photos", place / "media")
    late = keep(b"meanwhile")
    with (
        closing(db.engine.raw_connection()) as source,
        closing(sqlite_driver.connect(place / "database.sqlite3")) as copy,
    ):
        source.driver_connection.backup(copy)

    assert losses(place, place) == [late.file_path]


def test_k42_a_file_that_is_purged_between_snapshot_and_copying_comes_from_the_quarantine(
    keep, back_up, place, tmp_path
):
    media = keep(
        b"deleted for good", state=State.TRASHED, trashed_at=now() - timedelta(days=40)
    )  # fmt: skip
    result = back_up(progress=At("copying", lambda: trash.purge([media.id], None)))

    assert not (tmp_path / "photos" / media.file_path).exists()
    assert result.is_good
    assert losses(place, newest(place)) == []


def test_k42_one_whose_quarantine_was_emptied_too_is_not_promised(keep, back_up, place, tmp_path):
    keep(b"stays")
    media = keep(b"gone", state=State.TRASHED, trashed_at=now() - timedelta(days=40))

    def purge() -> None:
        trash.purge([media.id], None)
        shutil.rmtree(tmp_path / "photos" / "quarantine")

    result = back_up(progress=At("copying", purge))

    assert (result.is_good, result.counts["files"]) == (True, 1)
    checked_by_sha256sum(place)


# --- Wrong at the source -------------------------------------------------------------------


def test_wrong_bytes_at_the_source_are_not_copied_and_the_run_is_bad(
    keep, back_up, place, found, tmp_path
):
    keep(b"right")
    media = keep(b"right, too")
    overwrite(tmp_path / "photos" / media.file_path, b"wrong, now")

    result = back_up()

    assert not result.is_good
    assert result.words == (
        "Snapshot 1 is not verified."
        f" 1 original not as they came, and not in the backup: {media.file_path}."
    )
    assert not (place / "media" / media.file_path).exists()
    assert [one.is_verified for one in found().complete] == [False]
    checked_by_sha256sum(place)


def test_the_right_file_of_the_pool_stays_when_its_source_is_wrong(keep, back_up, place, tmp_path):
    media = keep(b"right")
    back_up()
    overwrite(tmp_path / "photos" / media.file_path, b"wrong")

    result = back_up()

    assert hash_of(place / "media" / media.file_path) == media.sha256
    assert (result.is_good, result.counts["copied"]) == (True, 0)


def test_a_file_that_is_known_to_be_lost_does_not_make_every_backup_bad(keep, back_up, tmp_path):
    keep(b"right")
    lost = keep(b"lost", state=State.DAMAGED, problem="The file is missing from the store.")
    (tmp_path / "photos" / lost.file_path).unlink()

    result = back_up()

    assert (result.is_good, result.counts["files"], result.counts["lost"]) == (True, 1, 1)
    assert "1 damaged file without a right copy anywhere" in result.words


def test_k44_originals_that_are_encrypted_in_place_leave_the_pool_alone(
    keep, back_up, place, found, tmp_path
):
    kept = [keep(f"photo {number}".encode()) for number in range(25)]
    back_up()
    for media in kept:
        overwrite(tmp_path / "photos" / media.file_path, b"pay us, or never see them again")

    result = back_up()

    assert not result.is_good
    assert "25 originals gone or altered since the last verified backup" in result.words
    assert (result.counts["is_mass_change"], result.counts["copied"]) == (True, 0)
    assert [hash_of(place / "media" / one.file_path) for one in kept] == [
        one.sha256 for one in kept
    ]
    assert [one.is_verified for one in found().complete] == [True, False]


@pytest.mark.proof
def test_k44_rows_that_vanish_are_a_mass_change_until_they_are_back(keep, back_up, found):
    kept = [keep(f"photo {number}".encode()) for number in range(25)]
    back_up()
    columns = [column.name for column in MediaAttachment.__table__.columns]
    saved = [{name: getattr(one, name) for name in columns} for one in kept]
    db.session.execute(sa.delete(MediaAttachment))
    db.session.commit()

    outcomes = [back_up().is_good, back_up().is_good]  # not only the first time
    db.session.execute(sa.insert(MediaAttachment), saved)
    db.session.commit()
    outcomes.append(back_up().is_good)

    assert outcomes == [False, False, True]
    assert [one.is_verified for one in found().complete] == [True, False, False, True]


def test_files_that_a_person_purged_are_no_mass_change(keep, back_up):
    long_ago = now() - timedelta(days=40)
    kept = [
        keep(f"photo {number}".encode(), state=State.TRASHED, trashed_at=long_ago)
        for number in range(25)
    ]
    back_up()
    trash.purge([one.id for one in kept], None)

    assert back_up().is_good


def test_a_store_that_is_away_fails_the_run_which_says_so(keep, back_up, found, tmp_path):
    keep()
    (tmp_path / "photos" / ".viewer-store").rename(tmp_path / "unmounted")

    result = back_up()

    assert result.has_failed
    assert result.words.startswith("The store of the originals does not answer: ")
    assert found().complete == []


# --- One at a time -------------------------------------------------------------------------


def test_k40_two_runs_to_one_target_are_kept_apart(keep, back_up, place):
    keep()
    second = []

    def again() -> None:
        with pytest.raises(Busy) as busy:
            back_up()
        second.append(str(busy.value))

    assert back_up(progress=At("copying", again)).is_good
    assert "Another backup to" in second[0]
    assert db.session.scalar(sa.select(sa.func.count()).select_from(UpkeepRun)) == 1


@pytest.mark.proof
def test_k40_the_lease_is_renewed_over_a_run_longer_than_a_lease(keep, back_up, monkeypatch, stack):
    """Three leases long; the second run asks at the end of each."""
    monkeypatch.setattr(lease, "LEASE", 0.6)
    keep()
    refused = []

    def wait() -> None:
        for _ in range(3):
            row = db.session.scalar(sa.select(ScheduledTask))
            db.session.commit()
            stack.callback(db.session.rollback)
            before = row.until
            while row.until == before or now() < before:
                time.sleep(0.02)  # else it keeps SQLite's write lock from who renews
                db.session.refresh(row)
                db.session.commit()
            with pytest.raises(Busy):
                back_up()
            refused.append(True)

    assert back_up(progress=At("copying", wait)).is_good
    assert refused == [True] * 3


def test_a_run_that_lost_its_lease_completes_nothing(keep, back_up, found):
    keep()

    def lose() -> None:
        db.session.execute(sa.update(ScheduledTask).values(holder="another host"))
        db.session.commit()

    result = back_up(progress=At("copying", lose))

    assert result.has_failed
    assert result.words == "This run stood still, and another one is at it now."
    assert found().complete == []


def test_what_ends_unexpectedly_is_on_record_as_failed(keep, back_up, found):
    keep()

    def fail() -> None:
        raise RuntimeError("of a kind that nobody thought of")

    with pytest.raises(RuntimeError):
        back_up(progress=At("copying", fail))

    assert (latest().outcome, found().complete) == ("failed", [])
    assert back_up().is_good


# --- Pruning by itself ---------------------------------------------------------------------


def test_prune_only_makes_no_snapshot_and_needs_a_verified_one(keep, back_up, place, found):
    media = keep(b"right")
    back_up()
    assert record.prune_only(str(place), same_filesystem=True).snapshots == 0
    (newest(place) / "verified.json").unlink()

    with pytest.raises(record.Refused, match="not verified"):
        record.prune_only(str(place), same_filesystem=True)
    assert len(found().complete) == 1
    assert hash_of(place / "media" / media.file_path) == media.sha256


def test_the_record_is_readable_by_people(keep, back_up, place):
    keep(b"12345")
    back_up()

    facts = json.loads((newest(place) / "snapshot.json").read_text())
    assert facts["tables"]["media_attachments"] == 1
    assert facts["database"]["name"] == "database.sqlite3"
    assert (facts["number"], facts["files"], facts["bytes"]) == (1, 1, 5)
