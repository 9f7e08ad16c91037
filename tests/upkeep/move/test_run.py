"""All files move to another store and back: choosing it, and what stands in the way."""

import time
import uuid
from datetime import timedelta

import pytest
import sqlalchemy as sa

from tests.conftest import BOTH
from tests.holdings.conftest import keys_in
from tests.support.damage import harm
from tests.support.object_stores import CREDENTIALS, running_rclone
from tests.support.pictures import picture
from tests.support.stored_files import keep, path_of, photos, place, row
from viewer import holdings, storage
from viewer.extensions import db, now
from viewer.holdings import Finding
from viewer.models import MediaAttachment, RegisteredStore, UpkeepRun
from viewer.storage import Unavailable
from viewer.upkeep import lost_stores, move, verify
from viewer.upkeep.move import CannotMove, setting

Outcome = UpkeepRun.Outcome


def wanted_address():
    found = db.session.scalar(sa.select(RegisteredStore.address).filter_by(is_wanted=True))
    db.session.commit()
    return found


# --- All files ------------------------------------------------------------------------------


@BOTH
def test_all_files_move_there_and_back(stored, bring, url):
    own = holdings.own_id()

    there = bring(url)

    assert (there.outcome, there.moved, wanted_address()) == (Outcome.GOOD, 3, url)
    assert str(there).startswith("3 files moved (")
    bucket = photos()[0].storage
    named = {key for media in photos() for key in (media.file_path, *media.copies.values())}
    assert keys_in(bucket) == named
    assert {media.former_storage for media in photos()} == {own}
    back = bring("folder:")
    assert (back.outcome, back.moved, wanted_address()) == (Outcome.GOOD, 3, None)
    assert {media.storage for media in photos()} == {own}
    assert all(holdings.check_file(media) is Finding.SAME for media in photos())


def test_a_second_run_has_nothing_to_do(stored, bring, url):
    bring(url)

    again = bring(url)

    assert (again.moved, again.outcome) == (0, Outcome.GOOD)


def test_what_arrives_meanwhile_is_moved_too(stored, bring, url, monkeypatch):
    late = []
    move_one = holdings.move

    def move_and_receive(*words, **more):
        if not late:
            late.append(keep(picture(99, 77)).id)
        return move_one(*words, **more)

    monkeypatch.setattr(holdings, "move", move_and_receive)

    assert bring(url, threads=1).moved == 4

    assert row(late[0]).former_storage == holdings.own_id()


def test_a_damaged_file_stays_is_noted_and_is_no_reason_to_stop(stored, bring, url):
    harm(path_of(stored[1]), "flipped")

    result = bring(url)

    assert (result.moved, result.outcome) == (2, Outcome.BAD)
    assert result.damaged == [stored[1].file_path]
    assert row(stored[1].id).is_damaged
    assert row(stored[1].id).storage == holdings.own_id()
    again = bring(url)
    assert (again.damaged, again.left.damaged) == ([], 1)
    assert "1 damaged, and left where they are" in str(again)


def test_a_strange_file_there_stops_its_row_alone(stored, bring, url):
    target = move.find(url)
    move.take(target)
    place(b"strange", stored[0].file_path, holdings.spool(), holdings.store(target.id))

    result = bring(url)

    assert (result.moved, result.strange) == (2, [stored[0].file_path])
    assert (result.outcome, result.is_whole) == (Outcome.BAD, False)


def test_k18_where_the_store_stops_answering_nothing_more_counts_as_moved(stored, url, monkeypatch):
    target = move.find(url)
    move.take(target)
    place_file, placed = type(target.store).place, []

    def expire(self, key, part):
        if len(placed) == 3:
            raise Unavailable("Our access key for the object store has expired.")
        placed.append(key)
        return place_file(self, key, part)

    monkeypatch.setattr(type(target.store), "place", expire)
    monkeypatch.setattr(move.run, "PAUSES", (0.0,))

    result = move.Move(target, 1, move.Pace(None)).run(lambda _files, _size: None)

    assert (result.outcome, result.moved) == (Outcome.FAILED, 1)
    assert "goes on from here" in str(result)
    assert "has expired" in str(result)
    assert [media.former_storage is not None for media in photos()].count(True) == 1


def test_the_run_is_on_record(stored, bring, url):
    bring(url)

    run = db.session.scalars(sa.select(UpkeepRun).filter_by(kind=UpkeepRun.Kind.MOVE)).one()
    assert (run.subject, run.outcome, run.counts["files"]) == (url, Outcome.GOOD, 3)


def test_files_of_other_hosts_are_left_to_them(stored, bring, url):
    theirs = RegisteredStore(id=uuid.uuid4(), host="elsewhere", address="folder:/srv/media")
    db.session.add(theirs)
    db.session.flush()
    media = keep(storage=theirs.id)

    result = bring(url)

    assert (result.moved, result.left.elsewhere) == (3, 1)
    assert row(media.id).push_due_at is not None
    assert "1 in other hosts' folders, to be pushed by them" in str(result)


def test_no_more_bytes_pass_than_were_asked_for():
    pace, begun = move.Pace(1_000_000), time.monotonic()

    for _ in range(4):
        pace.take(50_000)

    assert time.monotonic() - begun >= 0.15  # the last of four may begin then


# --- The store -----------------------------------------------------------------------------


def test_k4_a_service_that_overwrites_is_refused(stored, app):
    with running_rclone() as server, pytest.raises(CannotMove, match="would overwrite files"):
        move.find(server.address(server.new_bucket()))

    assert wanted_address() is None


def test_k7_another_viewers_bucket_is_refused(stored, url):
    storage.from_url(url, credentials=CREDENTIALS).mark(str(uuid.uuid4()))

    with pytest.raises(CannotMove, match="is another viewer's"):
        move.find(url)


def test_a_bucket_with_other_files_is_refused(stored, object_store):
    bucket = object_store.new_bucket()
    object_store.client.put_object(Bucket=bucket, Key="invoices/1.pdf", Body=b"1")

    with pytest.raises(CannotMove, match="holds other files"):
        move.find(object_store.address(bucket))


def test_k6_a_bucket_that_is_not_there_is_refused(stored, object_store):
    with pytest.raises(CannotMove, match=r"does not exist|no such object or bucket"):
        move.find(object_store.address("no-such-bucket-here"))


def test_k6_a_bucket_that_lost_its_marker_is_not_marked_anew_while_rows_name_it(
    stored, bring, object_store
):
    bucket = object_store.new_bucket()
    url = object_store.address(bucket)
    bring(url)
    everything = object_store.client.list_objects_v2(Bucket=bucket)["Contents"]
    for one in everything:
        object_store.client.delete_object(Bucket=bucket, Key=one["Key"])

    with pytest.raises(CannotMove, match="has no marker any more"):
        move.find(url)

    lost_stores.give_up(photos()[0].storage)
    assert bring(url).moved == 3  # the same name, and another store


@pytest.mark.parametrize("url", ["folder:/srv/other", "/srv/other", "ssh://host/folder", "ftp:x"])
def test_where_files_cannot_be_kept_is_said(url, stored):
    with pytest.raises(CannotMove):
        move.find(url)


def test_a_run_that_died_before_the_marker_goes_on(stored, bring, url):
    target = move.find(url)
    db.session.add(
        RegisteredStore(id=target.id, kind=RegisteredStore.Kind.S3, address=target.store.address)
    )
    db.session.commit()

    assert bring(url).moved == 3

    assert photos()[0].storage == target.id


# --- The setting (K19) -----------------------------------------------------------------------


@pytest.fixture
def says(app, monkeypatch):
    def say(url):
        found = app.config["SETTINGS"]
        monkeypatch.setitem(app.config, "SETTINGS", found.model_copy(update={"STORAGE_URL": url}))

    return say


def test_an_empty_viewer_follows_it(app, url, says):
    says(url)

    setting.follow()

    assert wanted_address() == url
    setting.follow()  # at each start


def test_k19_a_viewer_with_files_refuses_another(stored, url, says):
    says(url)

    with pytest.raises(CannotMove, match="viewer storage move --to"):
        setting.follow()

    assert wanted_address() is None


def test_k19_rows_in_former_stores_are_still_read(stored, bring, url, says):
    bring(url)
    says("folder:")

    with pytest.raises(CannotMove, match="go to s3://"):
        setting.follow()

    with holdings.open_file(row(stored[0].id), stored[0].file_path) as file:
        assert len(file.read()) == stored[0].file_size


# --- Orphans (K15) ---------------------------------------------------------------------------


def test_k15_what_a_former_store_still_has_of_nobody_is_an_orphan(stored, bring, url):
    bring(url)
    for media in photos():
        assert holdings.clear_former(media.id, now() + timedelta(seconds=1))
    assert keys_in(holdings.own_id()) == set()
    content = picture(50, 50)
    place(content, stored[0].file_path, holdings.spool(), holdings.own())  # forgotten

    change = sa.update(MediaAttachment).values(moved_at=now() - timedelta(days=1))
    db.session.execute(change)
    db.session.commit()
    result = verify.verify(holdings.own_id())

    assert result.there.orphans.keys == [stored[0].file_path]
