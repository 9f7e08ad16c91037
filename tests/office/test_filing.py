"""Links, the order of a record's files, and what waits in the tray."""

import threading
import uuid
from datetime import timedelta

import pytest
import sqlalchemy as sa

from tests.conftest import BOTH
from tests.support.crowds import run_all
from tests.support.factories import (
    NOW,
    customer,
    days,
    files,
    invoice,
    linked,
    photos,
    quote,
    text,
    visit,
    voicemail,
)
from tests.support.pictures import picture
from viewer.extensions import db, now
from viewer.models import AuditEntry, MediaAttachment, MediaLink, Message, User, WorkRecord
from viewer.office import accounts, filing
from viewer.web.pagination import Cursor, newer

PLACE = (MediaAttachment.sent_at, MediaAttachment.id)
State, Status = MediaAttachment.State, WorkRecord.Status

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture
def anna(app):
    user = accounts.add("anna@crack.example", User.Role.OFFICE, "Anna")
    db.session.commit()
    return user


def ids(media):
    return [one.id for one in media]


def waiting():
    return {one.id for one in filing.list_unfiled(100)}


# --- Links -----------------------------------------------------------------------------------


@BOTH
def test_linked_files_stand_in_the_order_they_were_sent_and_leave_the_tray(anna):
    maria = customer()
    late, early = photos(maria, 2, NOW), photos(maria, 2, NOW - days(1))
    job = quote(maria)

    made = filing.link([*late, *early], job, anna)
    db.session.commit()

    assert len(made) == 4
    assert linked(job) == ids([*early, *late])
    assert waiting() == set()


@BOTH
def test_linking_twice_leaves_one_link_and_keeps_its_place_and_caption(anna):
    maria = customer()
    first, second = photos(maria, 2)
    job = quote(maria)
    filing.link([first], job, anna, caption="North wall")
    db.session.commit()

    made = filing.link([first, second], job, anna, caption="South wall")
    db.session.commit()

    assert ids(one.media for one in made) == [second.id]
    assert linked(job) == ids([first, second])
    assert [one.caption for one in filing.links_of(job)] == ["North wall", "South wall"]


@pytest.mark.parametrize("state", [state for state in State if state is not State.STORED])
def test_only_what_is_stored_is_linked(anna, state):
    maria = customer()
    safe, other = photos(maria, 2)
    other.state = state
    job = quote(maria)
    db.session.commit()

    with pytest.raises(filing.NotStored):
        filing.link([safe, other], job, anna)

    assert linked(job) == []


@BOTH
def test_a_file_returns_to_the_tray_with_its_last_link(anna):
    maria = customer()
    media = photos(maria)
    one, other = quote(maria), quote(maria)
    filing.link(media, one, anna)
    filing.link(media, other, anna)
    db.session.commit()

    filing.unlink(media, one, anna)
    db.session.commit()
    still_filed = waiting()
    filing.unlink(media, other, anna)
    db.session.commit()

    assert still_filed == set()
    assert waiting() == set(ids(media))


def test_what_was_not_needed_or_was_not_sent_to_us_never_enters_the_tray_by_unlinking(anna):
    maria = customer()
    [ours] = files(text(maria, direction=Message.Direction.OUTGOING), is_unfiled=False)
    [unneeded] = photos(maria)
    call = voicemail(maria)
    job = quote(maria)
    filing.mark_not_needed([unneeded], anna)
    filing.link([ours, unneeded, call], job, anna)
    db.session.commit()

    filing.unlink([ours, unneeded, call], job, anna)
    db.session.commit()

    assert waiting() == set()


def test_what_is_not_needed_can_be_needed_after_all(anna):
    maria = customer()
    media = photos(maria, 3)
    marked = filing.mark_not_needed(media[:2], anna)
    db.session.commit()
    moment = marked[0].not_needed_at
    left = waiting()

    filing.mark_needed(filing.not_needed_since(moment), anna)
    db.session.commit()

    assert left == {media[2].id}
    assert waiting() == set(ids(media))


def test_marking_as_not_needed_spares_what_a_colleague_has_linked_meanwhile(anna):
    maria = customer()
    media = photos(maria, 2)
    filing.link(media[:1], quote(maria), anna)
    db.session.commit()

    marked = filing.mark_not_needed(media, anna)
    db.session.commit()

    assert ids(marked) == [media[1].id]
    assert media[0].not_needed_at is None


def test_what_arrives_again_agrees_with_what_people_did(anna, deliver, work, provider, message):
    payload = message(media=[provider.serve(picture(), content_type="image/jpeg")]).payload()
    deliver(payload)
    work()
    media = db.session.scalars(sa.select(MediaAttachment)).one()
    job = quote(media.conversation)
    filing.link([media], job, anna)
    db.session.commit()

    deliver(payload | {"id": "EVtest-again"})
    work()
    db.session.refresh(media)
    while_linked = media.is_unfiled
    filing.unlink([media], job, anna)
    db.session.commit()
    deliver(payload | {"id": "EVtest-once-more"})
    work()
    db.session.refresh(media)

    assert (while_linked, media.is_unfiled) == (False, True)


def test_one_go_of_links_is_taken_back_without_what_was_there_before(anna):
    maria = customer()
    media = photos(maria, 4)
    job = quote(maria)
    filing.link(media[:1], job, anna)
    db.session.commit()
    made = filing.link(media, job, anna)
    db.session.commit()

    filing.unlink(filing.media_linked_at(job, made[0].created_at, anna), job, anna)
    db.session.commit()

    assert linked(job) == [media[0].id]


def test_a_link_returns_to_its_old_place(anna):
    maria = customer()
    media = photos(maria, 3)
    job = quote(maria)
    filing.link(media, job, anna)
    filing.unlink(media[1:2], job, anna)
    db.session.commit()

    filing.link(media[1:2], job, anna, "Crack", position=1)
    db.session.commit()

    assert linked(job) == ids(media)


def test_each_step_is_on_the_trail_with_the_name_of_the_record(anna):
    maria = customer()
    [media] = photos(maria)
    job = quote(maria, "Q-7")
    filing.link([media], job, anna)
    filing.unlink([media], job, anna)
    filing.mark_not_needed([media], anna)
    filing.mark_needed([media], anna)
    db.session.commit()

    trail = db.session.scalars(
        sa.select(AuditEntry).filter_by(subject_type="media").order_by(AuditEntry.id)
    ).all()

    assert [(one.action, one.words) for one in trail] == [
        ("link", "to Q-7"),
        ("unlink", "from Q-7"),
        ("not_needed", ""),
        ("needed", ""),
    ]
    assert {(one.who, one.subject_type, one.subject_id) for one in trail} == {
        ("anna@crack.example", "media", media.id)
    }


@BOTH
def test_many_people_who_link_the_same_files_at_once_leave_one_link_each(app, anna):
    maria = customer()
    media = photos(maria, 6)
    job = quote(maria)
    wanted, user_id = ids(media), anna.id
    db.session.rollback()
    start, trouble = threading.Barrier(6), []

    def go(shift):
        with app.app_context():
            start.wait(60)
            try:
                rows = [db.session.get(MediaAttachment, one) for one in wanted]
                rows = rows[shift:] + rows[:shift]
                filing.link(rows, db.session.get(WorkRecord, job.id), db.session.get(User, user_id))
                db.session.commit()
            except Exception as error:  # noqa: BLE001 - told by the test
                trouble.append(error)

    threads = [threading.Thread(target=go, args=(shift,)) for shift in range(6)]
    run_all(threads)

    assert trouble == []
    assert sorted(linked(job)) == sorted(wanted)
    places = [one.position for one in filing.links_of(job)]
    assert places == list(range(6))


@BOTH
def test_linking_here_and_unlinking_there_at_once_leaves_the_tray_right(app, anna):
    maria = customer()
    media = photos(maria, 4)
    one, other = quote(maria), quote(maria)
    filing.link(media, one, anna)
    db.session.commit()
    wanted = ids(media)
    start, trouble = threading.Barrier(2), []

    def go(change, record_id):
        with app.app_context():
            start.wait(60)
            try:
                rows = [db.session.get(MediaAttachment, one) for one in wanted]
                change(rows, db.session.get(WorkRecord, record_id), None)
                db.session.commit()
            except Exception as error:  # noqa: BLE001 - told by the test
                trouble.append(error)

    threads = [
        threading.Thread(target=go, args=args)
        for args in ((filing.unlink, one.id), (filing.link, other.id))
    ]
    run_all(threads)

    assert trouble == []
    assert (linked(one), linked(other)) == ([], wanted)
    assert waiting() == set()


# --- The order of a record's files -----------------------------------------------------------


@BOTH
def test_a_records_files_stand_in_the_order_people_gave_them(anna):
    maria = customer()
    media = photos(maria, 4)
    job = quote(maria)
    made = filing.link(media, job, anna)
    db.session.commit()

    filing.reorder_links(job, [made[2].id, made[0].id, uuid.uuid4()])
    db.session.commit()

    assert linked(job) == [media[2].id, media[0].id, media[1].id, media[3].id]


@pytest.mark.parametrize(
    ("place", "steps", "expected"),
    [(2, -1, [0, 2, 1]), (0, 1, [1, 0, 2]), (0, -1, [0, 1, 2]), (2, 1, [0, 1, 2])],
)
def test_a_file_changes_places_with_its_neighbor(anna, place, steps, expected):
    maria = customer()
    media = photos(maria, 3)
    job = quote(maria)
    made = filing.link(media, job, anna)
    db.session.commit()

    filing.move_link(job, made[place].id, steps)
    db.session.commit()

    assert linked(job) == [media[index].id for index in expected]


def test_a_file_in_the_trash_is_no_neighbor_and_keeps_its_link(anna):
    maria = customer()
    media = photos(maria, 3)
    job = quote(maria)
    made = filing.link(media, job, anna)
    media[1].state = State.TRASHED
    db.session.commit()

    filing.move_link(job, made[2].id, -1)
    db.session.commit()

    assert ids(one.media for one in filing.links_of(job)) == [media[2].id, media[0].id]
    assert set(linked(job)) == set(ids(media))


def test_a_cover_is_one_of_the_records_own_files_and_goes_with_its_link(anna):
    maria = customer()
    mine, strange = photos(maria, 2)
    job = quote(maria)
    filing.link([mine], job, anna)

    assert not filing.set_cover(job, strange.id)
    assert filing.set_cover(job, mine.id)
    db.session.commit()
    assert job.cover_id == mine.id
    filing.unlink([mine], job, anna)
    db.session.commit()
    assert job.cover_id is None


@BOTH
def test_where_files_are_used_is_asked_once_for_all_of_them(anna):
    maria = customer()
    one, two, three = photos(maria, 3)
    job, visited = quote(maria, "Q-7"), visit(maria, NOW, visit="inspection")
    filing.link([one, two], job, anna)
    filing.link([one], visited, anna)
    db.session.commit()
    asked = []
    sa.event.listen(db.engine, "before_cursor_execute", lambda *what: asked.append(what[2]))

    found = filing.uses_of(ids([one, two, three]))
    names = {key: [filing.name_of(use.record) for use in uses] for key, uses in found.items()}

    assert names == {one.id: [filing.name_of(visited), "Q-7"], two.id: ["Q-7"]}
    assert len(asked) == 1


# --- The tray --------------------------------------------------------------------------------


@BOTH
def test_the_tray_begins_with_the_oldest_and_goes_on_where_it_stopped(anna):
    maria, bob = customer(), customer("+16175550124")
    late, early = photos(maria, 2), photos(bob, 2, NOW - days(3))
    photos(maria, at=NOW - days(9))[0].state = State.PENDING
    db.session.commit()

    page = filing.list_unfiled(3)
    rest = filing.list_unfiled(3, newer(*PLACE, Cursor(page[-1].sent_at, page[-1].id).encode()))

    assert set(ids(page[:2])) == set(ids(early))
    assert set(ids([*page[2:], *rest])) == set(ids(late))


@BOTH
def test_counting_the_tray_ends_where_it_is_enough(anna):
    photos(customer(), 7)

    assert (filing.count_unfiled(5), filing.count_unfiled(100)) == (5, 7)


@pytest.mark.on_sqlite("reads SQLite's query plans")
def test_the_tray_is_counted_and_listed_by_its_index():
    def plan(statement):
        words = statement.compile(db.engine, compile_kwargs={"literal_binds": True})
        return " ".join(
            row[3] for row in db.session.execute(sa.text(f"EXPLAIN QUERY PLAN {words}"))
        )

    asked = []
    sa.event.listen(
        db.session, "do_orm_execute", lambda execution: asked.append(execution.statement)
    )
    filing.count_unfiled(100)
    filing.list_unfiled(60)
    filing.list_unfiled(60, newer(*PLACE, Cursor(NOW, uuid.uuid4()).encode()))
    filing.list_not_needed(60)
    plans = [plan(statement) for statement in asked[:4]]

    assert [("ix_media_attachments_unfiled" in words) for words in plans] == [
        True, True, True, False,
    ]  # fmt: skip
    assert "ix_media_attachments_not_needed" in plans[3]
    assert "TEMP B-TREE" not in " ".join(plans)


@BOTH
def test_visits_of_the_next_two_days_without_a_photo_are_named(anna):
    maria, bob = customer(), customer("+16175550124")
    tomorrow = visit(maria, now() + timedelta(hours=20), visit="inspection")
    later = visit(bob, now() + timedelta(hours=40))
    visit(bob, now() + timedelta(hours=50))
    visit(bob, now() - timedelta(hours=5))
    visit(bob, now() + timedelta(hours=5), status=Status.CANCELED)
    visit(bob, now() + timedelta(hours=5), archived_at=now())
    has_photo = visit(bob, now() + timedelta(hours=6))
    only_voice = visit(bob, now() + timedelta(hours=7))
    filing.link(photos(bob), has_photo, anna)
    filing.link([voicemail(bob)], only_voice, anna)
    db.session.commit()

    found = filing.visits_soon()

    assert ids(found) == ids([only_voice, tomorrow, later])
    assert len(filing.visits_soon(limit=1)) == 1


# --- Which record it may be ------------------------------------------------------------------


@BOTH
def test_suggestions_are_the_customers_own_open_quotes_first_then_visits_nearby(anna):
    maria, bob = customer(), customer("+16175550124")
    media = photos(maria, 3)
    paid = invoice(maria, "INV-1", status=Status.PAID)
    owed = invoice(maria, "INV-2", status=Status.SENT)
    near = visit(maria, NOW - days(6), status=Status.DONE)
    far = visit(maria, NOW + days(8))
    canceled = visit(maria, NOW, status=Status.CANCELED)
    won = quote(maria, status=Status.APPROVED)
    open_one = quote(maria)
    quote(maria, archived_at=now())
    quote(bob)
    filing.link(media[:2], open_one, anna)
    db.session.commit()

    found = filing.suggestions(media)

    assert found[0].record is open_one
    assert (found[0].linked, found[0].is_near) == (2, False)
    assert found[1].record is near
    assert found[1].is_near
    assert {one.record for one in found[2:4]} == {owed, far}
    assert {one.record for one in found[4:]} == {paid, canceled, won}


@BOTH
def test_elsewhere_are_the_visits_of_that_day_and_the_newest_quotes(anna):
    colleague, maria = customer(), customer("+16175550124")
    media = photos(colleague)
    visited = visit(maria, NOW - timedelta(hours=3))
    visit(maria, NOW + days(5))
    older, newer = quote(maria, created_at=NOW - days(2)), quote(maria, created_at=NOW)
    quote(maria, status=Status.DECLINED)
    own = quote(colleague)

    found = [one.record for one in filing.suggestions_elsewhere(media)]

    assert found == [visited, newer, older]
    assert own not in found


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda who: quote(who, "Q-104", title="North wall"), "Q-104"),
        (lambda who: invoice(who, "INV-2031"), "INV-2031"),
        (lambda who: invoice(who, None, title="Second half"), "Second half"),
        (lambda who: invoice(who, None), "invoice"),
        (lambda who: visit(who, NOW + timedelta(hours=14)), "visit Sep 22"),
        (lambda who: visit(who, NOW - days(300), visit="repair"), "repair Nov 25, 2025"),
    ],
)
def test_a_record_has_a_short_name(time_machine_at, make, name):
    with time_machine_at(NOW):
        assert filing.name_of(make(customer())) == name


def test_links_die_with_nothing_but_themselves(anna):
    maria = customer()
    media = photos(maria)
    job = quote(maria)
    filing.link(media, job, anna)
    db.session.commit()

    filing.unlink(media, job, anna)
    db.session.commit()

    assert db.session.get(WorkRecord, job.id) is not None
    assert db.session.get(MediaAttachment, media[0].id) is not None
    assert db.session.scalar(sa.select(sa.func.count()).select_from(MediaLink)) == 0
