"""New files are stored here first, and pushed to the store for new files by the same job."""

from datetime import timedelta

import pytest
import time_machine

from tests.conftest import BOTH
from tests.holdings.conftest import keys_in
from tests.support import samples
from tests.support.stored_files import photos, row
from viewer import holdings
from viewer.extensions import db, now
from viewer.holdings import Finding, Outcome
from viewer.models import MediaAttachment
from viewer.storage import Unavailable
from viewer.upkeep.move import pushing, target

PHOTO = samples.packed(samples.corner_picture(90, 60), "JPEG")


@pytest.fixture
def arrive(deliver, work, provider, message):
    """A photo comes; its row."""

    def text():
        assert deliver(message(media=[provider.serve(PHOTO)]).payload()).status_code == 204
        work()
        return photos()[-1]

    return text


@BOTH
def test_the_job_that_stored_it_pushes_it(wanted, arrive, client):
    media = arrive()

    assert (media.storage, media.former_storage) == (wanted, holdings.own_id())
    assert (media.push_wanted_at, media.push_due_at, media.push_problem) == (None, None, None)
    assert keys_in(wanted) == {media.file_path, *media.copies.values()}
    assert client.get(f"/media/{media.id}").data == PHOTO


@pytest.fixture
def broken(monkeypatch):
    """The store for new files does not answer, until it is told to."""
    state = {"is_broken": True}
    move = holdings.moving.move

    def fail_or_move(*words, **more):
        if state["is_broken"]:
            raise Unavailable("The object store does not answer in time.")
        return move(*words, **more)

    monkeypatch.setattr(holdings.moving, "move", fail_or_move)
    return state


@pytest.fixture
def before_naming(monkeypatch):
    """Do something, once, when a push is about to let its row name the store."""
    name = holdings.moving._name

    def plan(do):
        def do_and_name(*words):
            monkeypatch.setattr(holdings.moving, "_name", name)
            do()
            return name(*words)

        monkeypatch.setattr(holdings.moving, "_name", do_and_name)

    return plan


def test_while_the_store_is_away_it_is_shown_from_here_and_waits(wanted, arrive, broken, client):
    media = arrive()

    assert media.storage == holdings.own_id()
    assert media.push_problem == "The object store does not answer in time."
    assert client.get(f"/media/{media.id}/thumbnail").status_code == 200
    assert client.get(f"/media/{media.id}").data == PHOTO
    assert pushing.push_due() == "0 files pushed"  # not due again yet
    broken["is_broken"] = False
    with time_machine.travel(now() + timedelta(seconds=30)):
        assert pushing.push_due() == "1 file pushed"
    assert row(media.id).storage == wanted


def test_jobs_leave_a_store_alone_that_did_not_answer(wanted, arrive, broken, monkeypatch):
    tried = []
    fail = holdings.moving.move

    def note_and_fail(*words, **more):
        tried.append(words)
        return fail(*words, **more)

    monkeypatch.setattr(holdings.moving, "move", note_and_fail)

    for _ in range(3):
        arrive()

    assert len(tried) == 1
    assert all(media.push_due_at for media in photos())


def test_pauses_grow_to_a_quarter_of_an_hour(wanted, arrive, broken):
    media = arrive()

    for _ in range(12):
        holdings.push(media.id)

    pause = row(media.id).push_due_at - now()
    assert timedelta(minutes=14) < pause <= timedelta(minutes=15)


def test_a_clock_that_ran_ahead_puts_nothing_off_for_years(wanted, arrive, broken):
    with time_machine.travel(now() + timedelta(days=900)):
        media = arrive()
    broken["is_broken"] = False

    assert holdings.due(10) == [media.id]


def test_k70_once_files_go_back_here_a_late_push_does_nothing(wanted, arrive, broken):
    media = arrive()
    target.want(holdings.own_id())
    broken["is_broken"] = False

    assert holdings.push(media.id)

    media = row(media.id)
    assert (media.storage, media.push_due_at) == (holdings.own_id(), None)


def test_k70_a_push_that_was_under_way_as_files_went_back_names_nothing(
    wanted, arrive, broken, before_naming
):
    media = arrive()
    broken["is_broken"] = False
    before_naming(lambda: target.want(holdings.own_id()))

    assert not holdings.push(media.id)

    assert row(media.id).storage == holdings.own_id()
    assert holdings.push(media.id)  # again, and nothing is wanted
    # What it had placed by then is not forgotten: it goes as from any former store.
    assert row(media.id).former_storage == wanted
    assert holdings.clear_former(media.id, now())
    assert keys_in(wanted) == set()


def test_k70_nor_is_what_was_placed_forgotten_if_copies_were_made_meanwhile(
    wanted, arrive, broken, before_naming
):
    media = arrive()
    broken["is_broken"] = False

    def go_back_and_derive():
        target.want(holdings.own_id())
        MediaAttachment.change_if(media.id, preview_path=None)
        db.session.commit()

    before_naming(go_back_and_derive)

    assert not holdings.push(media.id)

    assert (row(media.id).storage, row(media.id).former_storage) == (holdings.own_id(), wanted)
    assert holdings.clear_former(media.id, now())
    assert keys_in(wanted) == set()


def test_a_push_that_a_move_overtook_leaves_nothing_due(wanted, arrive, broken, before_naming):
    media = arrive()
    broken["is_broken"] = False

    def overtake():
        assert holdings.move(media.id, wanted).outcome is Outcome.MOVED

    before_naming(overtake)

    assert not holdings.push(media.id)

    media = row(media.id)
    assert (media.storage, media.push_due_at, media.push_problem) == (wanted, None, None)


def test_a_strange_file_in_the_way_is_said_and_waits_for_a_person(wanted, arrive, broken):
    media = arrive()
    broken["is_broken"] = False
    holdings.store(wanted).place(media.file_path, holdings.own().local_path(media.thumbnail_path))

    assert not pushing.push(media.id)

    assert "A strange file lies under" in row(media.id).push_problem
    assert row(media.id).storage == holdings.own_id()


def test_damage_that_a_push_meets_is_noted_and_not_spread(wanted, arrive, broken):
    media = arrive()
    broken["is_broken"] = False
    path = holdings.own().local_path(media.file_path)
    path.chmod(0o644)
    path.write_bytes(PHOTO[:-9] + b"something")

    assert not pushing.push(media.id)

    assert row(media.id).is_damaged
    assert keys_in(wanted) == set()
    assert holdings.check_file(row(media.id)) is Finding.DIFFERENT
