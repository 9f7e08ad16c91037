"""Verify finds whatever happened to a file, and nothing where nothing happened."""

import shutil
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
import time_machine

from tests.conftest import BOTH
from tests.support.damage import harm
from tests.support.pages import counted
from tests.support.pictures import picture
from tests.support.stored_files import keep, place, row
from viewer import holdings
from viewer.extensions import db, now
from viewer.holdings import Finding
from viewer.models import AuditEntry, MediaAttachment, RegisteredStore, UpkeepRun
from viewer.office import findings, trash
from viewer.upkeep import verify
from viewer.upkeep.verify import presence, reading

State, CopyState = MediaAttachment.State, MediaAttachment.CopyState
Outcome = UpkeepRun.Outcome


def small(number: int) -> bytes:
    return picture(60, 40, colour=(number, number, 0))


@BOTH
def test_where_all_is_well_it_says_so_and_reads_everything(app, database, photos, check):
    result = check()

    assert (result.problem, result.bad, result.damaged) == (None, [], 0)
    assert (result.there.rows, result.read.files, result.there.orphans.count) == (3, 3, 0)
    assert str(result) == "3 originals looked at, 3 of them read."
    [run] = db.session.scalars(sa.select(UpkeepRun))
    assert (run.kind, run.outcome, run.words) == (run.Kind.VERIFY, Outcome.GOOD, str(result))
    assert run.subject == str(app.config["SETTINGS"].media_root)


@pytest.mark.parametrize(
    "how", ["missing", "flipped", "cut", "emptied", "symlink", "pipe", "folder"]
)
def test_k28_whatever_lies_in_its_place_is_found(how, photos, check, root):
    harm(root / photos[1].file_path, how)

    result = check()

    found = Finding.DIFFERENT if how in ("flipped", "cut", "emptied") else Finding.MISSING
    assert [(row.id, finding) for row, finding in result.bad] == [(photos[1].id, found)]
    kept = row(photos[1].id)
    assert (kept.state, kept.problem) == (State.DAMAGED, findings.PROBLEMS[found])
    assert (result.damaged, result.outcome) == (1, Outcome.BAD)
    assert [row(photo.id).state for photo in (photos[0], photos[2])] == [State.STORED] * 2
    noted = db.session.scalars(sa.select(AuditEntry).filter_by(action="damage")).all()
    assert [entry.subject_id for entry in noted] == [photos[1].id]


def test_what_is_in_the_trash_is_checked_and_stays_there(photos, check, root):
    photos[0].state, photos[0].trashed_at = State.TRASHED, now()
    db.session.commit()
    harm(root / photos[0].file_path, "flipped")

    check()

    kept = row(photos[0].id)
    assert (kept.state, kept.problem) == (State.TRASHED, findings.PROBLEMS[Finding.DIFFERENT])
    assert check().bad == []  # known now, and no news each night


@pytest.mark.parametrize("when", ["before", "in the middle"])
def test_k29_a_disk_that_is_away_changes_no_row(when, photos, check, root, monkeypatch):
    def unmount() -> None:
        root.rename(root.with_name("unmounted"))
        root.mkdir()

    if when == "before":
        unmount()
    else:
        read = reading.read
        monkeypatch.setattr(reading, "read", lambda *a, **w: (unmount(), read(*a, **w))[1])

    result = check()

    assert "could not be checked. The disk for photos is not there" in str(result)
    assert (result.outcome, result.bad) == (Outcome.FAILED, [])
    assert [row(photo.id).state for photo in photos] == [State.STORED] * 3


@pytest.mark.parametrize("how", ["missing", "flipped"])
def test_k30_a_mass_change_is_an_alarm_and_marks_nothing(app, how, check, root):
    photos = [keep(small(number)) for number in range(60)]
    db.session.commit()
    for photo in photos[:21]:
        harm(root / photo.file_path, how)

    result = check()

    assert result.is_mass_change
    assert "21 of 60 originals are missing or changed" in str(result)
    assert "nothing was marked or repaired" in str(result)
    assert {row(photo.id).state for photo in photos} == {State.STORED}
    assert verify.read_overview().mass_changes == [str(result)]

    (root / photos[20].file_path).unlink(missing_ok=True)
    place(small(20), photos[20].file_path, holdings.spool(), holdings.own())
    assert len(check().bad) == 20  # no mass change any more
    assert verify.read_overview().mass_changes == []


@pytest.mark.parametrize("what", ["purged", "moved"])
def test_k31_a_row_that_changes_while_it_is_read_is_no_finding(what, photos, root, monkeypatch):
    photo, compare = photos[0], presence.compare
    other = RegisteredStore(kind=RegisteredStore.Kind.S3, address="s3://elsewhere/photos")
    db.session.add(other)
    db.session.commit()

    def then_change(*words):
        found = compare(*words)
        row = db.session.get_one(MediaAttachment, photo.id, populate_existing=True)
        if what == "purged":
            row.state, row.trashed_at, row.purged_at = State.TRASHED, now(), now()
        else:
            row.storage = other.id
        db.session.commit()
        return found

    harm(root / photo.file_path, "missing")
    monkeypatch.setattr(presence, "compare", then_change)

    verify.verify(holdings.own_id())

    assert row(photo.id).problem is None
    assert db.session.scalars(sa.select(AuditEntry).filter_by(action="damage")).all() == []


def test_a_file_that_arrives_while_it_looks_is_not_missing(photos, check, monkeypatch):
    """The list of files was made before; the row is asked after."""
    listed = holdings.own().keys

    def and_then_one_comes(prefix=""):
        yield from listed(prefix)
        monkeypatch.setattr(type(holdings.own()), "keys", lambda *_: listed())
        keep(picture(width=300), downloaded_at=now() - timedelta(minutes=1))
        db.session.commit()

    monkeypatch.setattr(holdings.own(), "keys", and_then_one_comes, raising=False)

    assert check().bad == []


# --- Slices ----------------------------------------------------------------------------------


def test_within_a_cycle_every_original_is_read_once_the_oldest_first(app, check):
    begin = now().replace(hour=7, minute=0)
    photos = [keep(small(number), verified_at=begin) for number in range(60)]
    db.session.commit()

    with time_machine.travel(begin, tick=False) as clock:
        for _ in range(30):
            clock.shift(timedelta(days=1))
            result = check(everything=False)
            assert 1 <= result.read.files <= 4

        read_at = [row(photo.id).verified_at for photo in photos]
    assert min(read_at) > begin


def test_nights_that_were_missed_are_made_up(photos, check):
    with time_machine.travel(now() + timedelta(days=40)):
        check(everything=False)
    with time_machine.travel(now() + timedelta(days=60)):
        assert check(everything=False).read.files >= 2


def test_a_run_is_due_at_night_or_once_it_is_overdue(app):
    store = db.session.scalars(sa.select(RegisteredStore)).one()
    store.created_at = datetime(2026, 9, 21, 16, 0, tzinfo=UTC)  # noon in New York
    db.session.commit()

    def due(*moment: int) -> bool:
        with time_machine.travel(datetime(2026, 9, *moment, tzinfo=UTC), tick=False):
            return verify.is_due(holdings.own_id())

    assert not due(22, 7, 0)  # three at night, and too soon
    assert not due(22, 17, 0)
    assert due(22, 18, 30)  # this machine sleeps at night
    with time_machine.travel(datetime(2026, 9, 22, 18, 30, tzinfo=UTC)):
        verify.nightly()
    assert not due(23, 7, 0)
    assert due(23, 18, 0) is False
    assert due(23, 21, 0)


# --- What no row names -------------------------------------------------------------------------


def test_orphans_are_listed_apart_from_copies_and_kept_bytes(photos, check, root):
    keep(picture(width=400), with_copies=True)
    store, spool = holdings.own(), holdings.spool()
    for key in (
        "2026/09/21/617-555-0123/messages/1789999999_photo.jpg",
        "2026/09/21/617-555-0123/messages/1789999999_photo_thumb.jpg",
        "quarantine/4a5b.jpg", "rejected/4a5b", "evidence/4a5b", "shared/1/4a5b-whole.jpg",
    ):  # fmt: skip
        place(b"whose?", key, spool, store)

    result = check()

    orphans = result.there.orphans
    assert orphans.keys == ["2026/09/21/617-555-0123/messages/1789999999_photo.jpg"]
    assert (orphans.count, orphans.size, result.outcome) == (1, 6, Outcome.GOOD)
    assert store.stat(orphans.keys[0]).size == 6  # never deleted
    assert verify.read_overview().orphans == 1


def test_a_file_of_a_purged_row_is_no_orphan(photos, check):
    photos[0].state, photos[0].trashed_at = State.TRASHED, now() - timedelta(days=40)
    db.session.commit()
    trash.purge([photos[0].id], None)

    assert check().there.orphans.count == 0


def test_missing_copies_are_made_again(photos, check, work):
    media = keep(picture(width=400), with_copies=True)
    holdings.own().remove(media.copies["thumbnail"])

    check()
    assert row(media.id).copy_state is CopyState.DUE
    work()
    assert holdings.own().stat(row(media.id).copies["thumbnail"]).size > 0


# --- Size ------------------------------------------------------------------------------------


def test_the_number_of_queries_grows_with_the_batches_not_with_the_files(photos, check):
    def queries() -> int:
        with counted() as asked:
            check(everything=False)
        return len(asked)

    few = queries()
    for number in range(40):
        keep(small(number))
    db.session.commit()
    assert queries() <= few + 2


def test_a_slow_reader_holds_up_no_writer(photos, check, app, monkeypatch):
    """No transaction is open while bytes are read."""
    was = []

    def compare(store, key, sha256):
        was.append(db.session().in_transaction())
        return Finding.SAME

    monkeypatch.setattr(holdings, "compare_bytes", compare)
    check()
    assert was == [False] * 3


def test_the_whole_folder_gone_behind_its_marker_is_a_mass_change(app, check, root):
    for number in range(30):
        keep(small(number))
    db.session.commit()
    shutil.rmtree(root / "2026")

    assert check().is_mass_change
