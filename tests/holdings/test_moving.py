"""A row's bytes move to another store, and back; nothing is ever moved that is not right."""

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.conftest import BOTH
from tests.holdings.conftest import keys_in
from tests.support.damage import harm
from tests.support.pictures import picture
from tests.support.stored_files import keep, other_store, path_of, place, row
from viewer import holdings
from viewer.extensions import db, now
from viewer.holdings import Finding, Outcome, StrangeFile, WrongBytes
from viewer.intake import derivatives
from viewer.models import MediaAttachment
from viewer.office import trash
from viewer.storage import Unavailable

State, CopyState = MediaAttachment.State, MediaAttachment.CopyState


@pytest.fixture
def photo(app):
    """A stored photo with its copies."""
    return keep(picture(120, 80), with_copies=True)


def digest(identity, key):
    with holdings.store(identity).open(key) as file:
        return hashlib.sha256(file.read()).hexdigest()


def files_of(media):
    return {media.file_path, *media.copies.values()}


# --- There and back ------------------------------------------------------------------------


@BOTH
def test_a_photo_moves_with_its_copies_and_back(photo, there, client):
    own = photo.storage

    moved = holdings.move(photo.id, there)

    media = row(photo.id)
    assert (moved.outcome, moved.size > media.file_size) == (Outcome.MOVED, True)
    assert (media.storage, media.former_storage) == (there, own)
    assert keys_in(there) == keys_in(own) == files_of(media)
    assert digest(there, media.file_path) == media.sha256
    assert holdings.move(photo.id, own).outcome is Outcome.MOVED
    media = row(photo.id)
    assert (media.storage, media.former_storage) == (own, there)
    assert holdings.check_file(media) is Finding.SAME


def test_moving_it_again_does_nothing(photo, there):
    holdings.move(photo.id, there)

    assert holdings.move(photo.id, there).outcome is Outcome.NOTHING_TO_DO


def test_what_an_earlier_run_placed_before_it_died_is_adopted(photo, there):
    content = path_of(photo).read_bytes()
    place(content, photo.file_path, holdings.spool(), holdings.store(there))

    assert holdings.move(photo.id, there).outcome is Outcome.MOVED

    assert row(photo.id).storage == there


def test_a_strange_file_under_its_name_stops_it_and_stays(photo, there):
    place(b"somebody else's", photo.file_path, holdings.spool(), holdings.store(there))

    with pytest.raises(StrangeFile, match="A strange file lies under"):
        holdings.move(photo.id, there)

    assert row(photo.id).storage == holdings.own_id()
    with holdings.store(there).open(photo.file_path) as file:
        assert file.read() == b"somebody else's"


@pytest.mark.parametrize("how", ["flipped", "cut", "missing"])
def test_wrong_bytes_are_moved_nowhere(how, photo, there):
    harm(path_of(photo), how)

    with pytest.raises(WrongBytes) as found:
        holdings.move(photo.id, there)

    assert found.value.finding is (Finding.MISSING if how == "missing" else Finding.DIFFERENT)
    assert row(photo.id).storage == holdings.own_id()
    assert keys_in(there) == set()


def test_an_older_copy_that_lies_there_is_replaced_by_the_newer(photo, there):
    """As after a move there, back, and a change of how copies are made. Originals never are."""
    place(b"an old thumbnail", photo.thumbnail_path, holdings.spool(), holdings.store(there))

    holdings.move(photo.id, there)

    assert digest(there, photo.thumbnail_path) == digest(holdings.own_id(), photo.thumbnail_path)


def test_a_copy_that_cannot_be_read_is_made_again(photo, there):
    holdings.own().remove(photo.thumbnail_path)

    assert holdings.move(photo.id, there).outcome is Outcome.MOVED

    assert row(photo.id).copy_state is CopyState.DUE
    assert derivatives.make_copies(photo.id)
    assert keys_in(there) == files_of(row(photo.id))


def test_what_never_came_or_was_deleted_for_good_has_nothing_to_move(app, there):
    pending = keep(state=State.PENDING, storage=None, downloaded_at=None)
    purged = keep(state=State.TRASHED, purged_at=now(), trashed_at=now())

    for media in (pending, purged):
        assert holdings.move(media.id, there).outcome is Outcome.NOTHING_TO_DO
    assert keys_in(there) == set()


# --- While others are at the row (K14) --------------------------------------------------------


@pytest.fixture
def meanwhile(monkeypatch):
    """Do something between the placing and the naming."""

    def arrange(do):
        name = holdings.moving._name

        def do_and_name(*words):
            do()
            return name(*words)

        monkeypatch.setattr(holdings.moving, "_name", do_and_name)

    return arrange


def change(media_id, **values):
    db.session.execute(
        sa.update(MediaAttachment).where(MediaAttachment.id == media_id).values(**values)
    )
    db.session.commit()


@BOTH
@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ({"state": State.TRASHED, "trashed_at": now()}, Outcome.MOVED),
        ({"caption": "The north wall"}, Outcome.MOVED),
        ({"purged_at": now(), "state": State.TRASHED}, Outcome.CHANGED),
        ({"sha256": "0" * 64}, Outcome.CHANGED),
        ({"file_path": "2026/other.jpg"}, Outcome.CHANGED),
        ({"preview_path": None}, Outcome.CHANGED),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_k14_what_happens_to_the_row_meanwhile_decides(values, outcome, photo, there, meanwhile):
    meanwhile(lambda: change(photo.id, **values))

    assert holdings.move(photo.id, there).outcome is outcome

    assert (row(photo.id).storage == there) == (outcome is Outcome.MOVED)


@pytest.mark.parametrize(
    "values",
    [{"purged_at": now(), "state": State.TRASHED}, {"file_path": "2026/other.jpg"}],
    ids=["purged", "replaced"],
)
def test_k15_what_was_placed_for_nobody_any_more_does_not_stay(values, photo, there, meanwhile):
    meanwhile(lambda: change(photo.id, **values))

    holdings.move(photo.id, there)

    assert keys_in(there) == set()


def test_copies_that_are_made_while_it_moves_end_where_it_is(photo, there, monkeypatch):
    change(photo.id, copy_state=CopyState.DUE, copy_due_at=now())
    placed = derivatives._place_derivatives

    def move_and_place(store, media, derived):
        found = placed(store, media, derived)
        if row(photo.id).storage != there:
            holdings.move(photo.id, there)
        return found

    monkeypatch.setattr(derivatives, "_place_derivatives", move_and_place)

    assert derivatives.make_copies(photo.id)

    media = row(photo.id)
    assert (media.storage, media.copy_state) == (there, CopyState.MADE)
    assert keys_in(there) == files_of(media)


def test_a_third_store_waits_until_the_second_move_is_over(photo, there, tmp_path):
    third = other_store(tmp_path / "third").id
    holdings.move(photo.id, there)

    assert holdings.move(photo.id, third).outcome is Outcome.HELD

    holdings.clear_former(photo.id, now())
    assert holdings.move(photo.id, third).outcome is Outcome.MOVED


# --- The former store ----------------------------------------------------------------------


def test_the_former_store_is_cleared_of_everything(photo, there):
    own = photo.storage
    holdings.move(photo.id, there)

    assert holdings.clear_former(photo.id, now())

    media = row(photo.id)
    assert media.former_storage is None
    assert (keys_in(own), keys_in(there)) == (set(), files_of(media))
    assert not holdings.clear_former(photo.id, now())


def test_not_before_its_time(photo, there):
    holdings.move(photo.id, there)

    assert not holdings.clear_former(photo.id, now() - timedelta(minutes=1))

    assert row(photo.id).former_storage == holdings.own_id()


@pytest.mark.parametrize("how", ["deleted", "altered"])
def test_k16_a_new_object_that_is_not_right_keeps_the_former_one(how, photo, there):
    holdings.move(photo.id, there)
    holdings.store(there).remove(photo.file_path)
    if how == "altered":
        place(picture(99), photo.file_path, holdings.spool(), holdings.store(there))

    with pytest.raises(WrongBytes):
        holdings.clear_former(photo.id, now())

    assert row(photo.id).former_storage == holdings.own_id()
    assert photo.file_path in keys_in(holdings.own_id())


def test_a_row_that_is_being_cleared_is_moved_nowhere(photo, there):
    """Else what was just adopted in the former store would be removed from it."""
    own = photo.storage
    holdings.move(photo.id, there)
    change(photo.id, moved_at=None)  # as the clearing says before it removes

    assert holdings.move(photo.id, own).outcome is Outcome.HELD

    assert holdings.clear_former(photo.id, now())
    assert holdings.move(photo.id, own).outcome is Outcome.MOVED
    assert holdings.check_file(row(photo.id)) is Finding.SAME


def test_a_move_back_that_began_before_the_clearing_changes_nothing(photo, there, meanwhile):
    own = photo.storage
    holdings.move(photo.id, there)
    meanwhile(lambda: holdings.clear_former(photo.id, now()))

    assert holdings.move(photo.id, own).outcome is Outcome.CHANGED

    media = row(photo.id)
    assert (media.storage, holdings.check_file(media)) == (there, Finding.SAME)


def test_deleting_for_good_leaves_nothing_in_either_store(photo, there):
    own = photo.storage
    holdings.move(photo.id, there)
    media = row(photo.id)
    change(media.id, state=State.TRASHED, trashed_at=now() - timedelta(days=90))

    assert trash.purge([media.id], by=None) == 1

    assert keys_in(own) == keys_in(there) == set()
    with holdings.store(there).open(trash.quarantine_key(media)) as file:
        assert hashlib.sha256(file.read()).hexdigest() == media.sha256


def test_a_store_that_is_away_changes_no_row(photo, tmp_path):
    there = other_store(tmp_path / "second").id
    Path(tmp_path, "second", ".viewer-store").unlink()

    with pytest.raises(Unavailable):
        holdings.move(photo.id, there)

    assert row(photo.id).storage == holdings.own_id()
