"""A customer who is forgotten is gone from everywhere, and nobody else is touched."""

import hashlib
import json
import logging
import signal
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine

from tests.conftest import BOTH
from tests.payloads import Message as Text
from tests.payloads import load
from tests.support import customers, factories, homes, object_stores, stored_files
from tests.support.children import in_child
from tests.support.customers import Customer
from tests.support.pictures import noise
from tests.support.webhooks import OUR_NUMBER
from viewer import failpoint, holdings, quo
from viewer.extensions import db, now
from viewer.intake import comparison, ingest
from viewer.models import (
    AuditEntry,
    Contact,
    Conversation,
    Erasure,
    Forgetting,
    MediaAttachment,
    Message,
    PhoneLine,
    RegisteredStore,
    Share,
    User,
    WebhookEvent,
    WorkRecord,
)
from viewer.office import accounts, audit_chain, forgetting, sharing
from viewer.office.forgetting import rows
from viewer.storage import Unavailable
from viewer.upkeep import forget

State, Reason = Forgetting.State, Forgetting.Reason


@pytest.fixture
def settings(settings: dict[str, Any]) -> dict[str, Any]:
    return {**settings, **object_stores.SETTINGS, "FORGET_AFTER_DAYS": 7}


@pytest.fixture
def anna(app: Any) -> User:
    user = accounts.add("anna@crack.example", User.Role.OWNER, "Anna")
    db.session.commit()
    return user


@pytest.fixture
def meet(deliver: Any, work: Any, provider: Any, anna: User) -> Any:
    """Let a customer do everything that one can do."""

    def come(customer: Customer, number: int) -> Customer:
        for event in customer.events(provider, number):
            assert deliver(event).status_code == 204
        work()
        customers.do_business(customer, anna)
        work()
        return customer

    return come


@pytest.fixture
def dana() -> Customer:
    return Customer("+16175550177", "Zephyrine", "Quillfeather", "efflorescent", "CNzeph77")


@pytest.fixture
def rosa() -> Customer:
    return Customer("+16175550188", "Rosalind", "Okonkwo", "honeycombed", "CNrosa88")


def forget_now(number: str, by: User | None = None) -> Forgetting:
    """Ask, and let the time pass until it is over."""
    found = forgetting.ask(number, Reason.REQUEST, "as written on the phone", by)
    db.session.commit()
    run_until_done(found.id)
    return db.session.get_one(Forgetting, found.id, populate_existing=True)


def run_until_done(identity: Any) -> None:
    for after in (timedelta(days=7, seconds=1), timedelta(days=7, hours=1)):
        with time_machine.travel(now() + after, tick=False):
            _everything_due()
    db.session.rollback()


@BOTH
@pytest.mark.parametrize("store", ["folder", pytest.param("s3", marks=pytest.mark.proof)])
def test_nothing_is_left_of_who_is_forgotten_and_all_of_the_others(
    store, app, meet, dana, rosa, anna, request, monkeypatch, caplog
):
    caplog.set_level(logging.DEBUG, logger="viewer")
    if store == "s3":
        object_stores.sign_by_the_real_clock(monkeypatch)
        server = request.getfixturevalue("object_store")
        homes.live_in(server.address(server.new_bucket()))
    meet(rosa, 2)
    neighbours, files = customers.rows(), customers.stored()
    meet(dana, 3)
    customers.purge_second(dana)
    caplog.clear()
    before = customers.traces(dana)

    found = forget_now(dana.number, anna)

    assert found.state is State.DONE
    assert len({what for hits in before.values() for what in hits}) == len(customers.needles(dana))
    assert customers.traces(dana, log=caplog.text) == {}
    assert customers.stored() == files
    verdict = audit_chain.verify()
    assert (verdict.problems, verdict.erased > 5) == ([], True)
    for table in ("audit_chain", "duties", "user_sessions", "catch_up_marks", "forgettings"):
        neighbours.pop(table)
    after = customers.rows()
    changed = {
        (table, key)
        for table, known in neighbours.items()
        for key, row in known.items()
        if after[table].get(key) != row
    }
    assert changed == set()
    assert customers.traces(rosa)  # the search does find what is there
    [invoice] = db.session.scalars(
        sa.select(WorkRecord).filter_by(kind=WorkRecord.Kind.INVOICE, number="INV-0177")
    )
    assert (invoice.amount, invoice.title, invoice.notes) == (120000, "", "")


# --- Killed, asked twice, revoked ------------------------------------------------------------

STEPS = (
    "forget.begun", "forget.messages@1", "forget.messages@2", "forget.conversations",
    "forget.deliveries", "forget.traces", "forget.contacts", "storage.erased",
    "forget.removing@3", "forget.removed@2", "forget.cleared", "forget.compacted",
)  # fmt: skip


def _everything_due() -> None:
    forget.forget_due(at_once=True)
    forget.clear_own()
    forget.forget_due(at_once=True)


@pytest.mark.proof
@BOTH
def test_killed_at_each_step_it_ends_as_if_it_had_not_been(
    app, meet, dana, rosa, anna, monkeypatch
):
    monkeypatch.setattr(rows, "AT_ONCE", 1)
    meet(rosa, 2)
    files = customers.stored()
    meet(dana, 3)
    found = forgetting.ask(dana.number, Reason.REQUEST, by=anna)
    db.session.commit()

    begin = now() + timedelta(days=7, seconds=1)
    for number, step in enumerate(STEPS):
        monkeypatch.setenv(failpoint.VARIABLE, f"{step}=kill")
        with time_machine.travel(begin + number * timedelta(minutes=40), tick=False):
            in_child(_everything_due, expected=-signal.SIGKILL)
    monkeypatch.delenv(failpoint.VARIABLE)
    db.engine.dispose()
    run_until_done(found.id)

    assert db.session.get_one(Forgetting, found.id, populate_existing=True).state is State.DONE
    assert customers.traces(dana) == {}
    assert customers.stored() == files


def test_until_its_day_nothing_happens_and_it_can_be_revoked(app, meet, dana, anna):
    meet(dana, 3)
    before = customers.rows()["messages"]
    found = forgetting.ask(dana.number, Reason.MISTAKE, "a note", anna)
    db.session.commit()

    with time_machine.travel(now() + timedelta(days=6, hours=23), tick=False):
        forget.forget_due(at_once=True)
        forgetting.revoke(found.id, anna)
        forgetting.revoke(found.id, anna)
        db.session.commit()
    run_until_done(found.id)

    row = db.session.get_one(Forgetting, found.id, populate_existing=True)
    assert (row.state, row.number, row.note) == (State.REVOKED, None, None)
    assert customers.rows()["messages"] == before
    assert forgetting.of_number(dana.number) is None


@BOTH
def test_what_has_begun_cannot_be_revoked_and_is_asked_for_once(app, meet, dana):
    meet(dana, 3)
    found = forgetting.ask(dana.number, Reason.REQUEST)
    db.session.commit()
    with pytest.raises(forgetting.UnderWay):
        forgetting.ask(dana.number, Reason.REQUEST)
    db.session.rollback()
    with time_machine.travel(now() + timedelta(days=7, seconds=1), tick=False):
        forgetting.erase(found.id)

    with pytest.raises(forgetting.TooLate):
        forgetting.revoke(found.id)
    db.session.rollback()
    run_until_done(found.id)
    with pytest.raises(forgetting.NothingHeld):
        forgetting.ask(dana.number, Reason.REQUEST)


@pytest.mark.parametrize("number", [OUR_NUMBER, "+16175550155", "anonymous", "unknown-e3b0c442"])
def test_no_number_of_ours_and_none_of_many_people_can_be_forgotten(number, app, anna):
    """By our own number every text that we ever sent would go."""
    db.session.add(PhoneLine(provider_id="PNother", number="+16175550155"))
    factories.text(factories.customer("+16175550188"), sender=number, direction="outgoing")

    with pytest.raises(forgetting.NotOne):
        forgetting.ask(number, Reason.REQUEST)


def test_the_receipt_names_nobody_and_says_what_went(app, meet, dana, anna):
    meet(dana, 3)

    found = forget_now(dana.number, anna)

    told = json.dumps(found.receipt)
    assert not any(one.search(told.encode()) for one in customers.needles(dana).values())
    counts = found.receipt["counts"]
    assert (counts["texts"], counts["calls"], counts["files"]) == (1, 2, 4)
    assert (counts["invoices_kept"], counts["records"], counts["contacts"]) == (1, 2, 1)
    actions = db.session.scalars(
        sa.select(AuditEntry.action).filter_by(subject_id=found.id).order_by(AuditEntry.id)
    ).all()
    assert actions == ["customer.forget", "customer.forgotten"]


# --- It does not come back ---------------------------------------------------------------------


@BOTH
def test_what_the_provider_repeats_does_not_come_back(
    app, meet, dana, anna, deliver, work, provider, caplog
):
    meet(dana, 3)
    forget_now(dana.number, anna)
    later = Customer(dana.number, dana.first, dana.last, dana.mark, dana.thread)
    repeated = later.events(provider, 3)

    for event in repeated:  # the same deliveries, and the same under another id
        assert deliver(event, delivery_id=event["id"]).status_code == 204
        assert deliver(event).status_code == 204
    work()

    assert db.session.scalars(sa.select(Message.id)).all() == []
    assert db.session.scalars(sa.select(MediaAttachment.id)).all() == []
    assert db.session.scalars(sa.select(Contact.id)).all() == []
    kept = db.session.scalars(sa.select(WebhookEvent)).all()
    assert {(one.state, one.body) for one in kept} == {(WebhookEvent.State.PROCESSED, b"")}
    [found] = db.session.scalars(sa.select(Forgetting)).all()
    assert found.compacted_at is None
    db.session.commit()
    forget.forget_due(at_once=True)  # the next night
    assert customers.traces(dana) == {}


def test_the_catch_up_does_not_bring_it_back_either(app, meet, dana, anna):
    meet(dana, 3)
    seen = [
        quo.understand(quo.read_json(body), received_at=now())
        for body in db.session.scalars(sa.select(WebhookEvent.body)).all()
    ]
    forget_now(dana.number, anna)

    for one in seen:
        if isinstance(one, quo.ContactSeen):
            assert ingest.upsert(one, now()) == []
        else:
            assert comparison.complete(one).media == set()

    assert db.session.scalars(sa.select(Message.id)).all() == []
    assert db.session.scalars(sa.select(Contact.id)).all() == []
    [found] = db.session.scalars(sa.select(Forgetting)).all()
    assert found.compacted_at is not None  # it left no traces


@BOTH
def test_a_message_that_never_came_is_kept_out_by_its_number_and_time(
    app, meet, dana, anna, deliver, work, message
):
    meet(dana, 3)
    found = forget_now(dana.number, anna)
    old, new = message(sender=dana.number), message(sender=dana.number)
    new.sent_at = found.begun_at + timedelta(days=1)

    with time_machine.travel(new.sent_at + timedelta(minutes=1)):
        assert deliver(old.payload()).status_code == 204
        assert deliver(new.payload()).status_code == 204
        work()

    ids = db.session.scalars(sa.select(Message.provider_id)).all()
    assert ids == [new.provider_id]  # who writes again is a new customer


@BOTH
def test_deliveries_that_made_no_message_go_and_what_nobody_understood_is_said(
    app, meet, dana, anna, deliver, work
):
    meet(dana, 3)
    ringing = {"id": "EVring", "type": "call.ringing", "data": {"object": {"from": dana.number}}}
    unknown = {"id": "EVnew", "type": "something.new", "data": {"about": dana.number}}
    other = {"id": "EVother", "type": "call.ringing", "data": {"object": {"from": "+16175550188"}}}
    for event in (ringing, unknown, other):
        assert deliver(event, delivery_id=event["id"]).status_code == 204
    work()

    found = forget_now(dana.number, anna)

    left = db.session.scalars(
        sa.select(WebhookEvent.delivery_id).order_by(WebhookEvent.delivery_id)
    ).all()
    assert left == ["EVnew", "EVother"]
    assert found.remarks[0].startswith("1 delivery that nobody understood")


def test_what_a_worker_places_a_moment_later_is_found_by_the_second_look(app, meet, dana):
    """It held the file when its row went."""
    meet(dana, 3)
    keys = [one.file_path for one in dana.media()]
    found = forgetting.ask(dana.number, Reason.REQUEST)
    db.session.commit()
    begin = now() + timedelta(days=7, seconds=1)
    with time_machine.travel(begin, tick=False):
        _everything_due()
    stored_files.place(dana.files["photo"], keys[0], holdings.spool(), homes.own())

    with time_machine.travel(begin + timedelta(minutes=29), tick=False):
        _everything_due()
        assert set(customers.stored()) == {keys[0]}
    with time_machine.travel(begin + timedelta(minutes=31), tick=False):
        _everything_due()

    assert customers.stored() == {}
    assert db.session.get_one(Forgetting, found.id, populate_existing=True).state is State.DONE


def test_the_beginning_of_a_download_that_broke_off_is_erased(app, meet, dana):
    meet(dana, 3)
    part = holdings.spool().new_part()
    part.write(dana.files["photo"])
    holdings.spool().keep(part, str(dana.media()[0].id), "note")
    assert any(".kept" in place for place in customers.traces(dana))

    forget_now(dana.number)

    assert customers.traces(dana) == {}


def test_a_store_that_is_away_is_waited_for(app, meet, dana):
    meet(dana, 3)
    found = forgetting.ask(dana.number, Reason.REQUEST)
    db.session.commit()
    root = holdings.own().root
    (root / ".viewer-store").rename(root.parent / "marker")
    begin = now() + timedelta(days=7, seconds=1)
    with time_machine.travel(begin, tick=False):
        forget.forget_due(at_once=True)
        forget.clear_own()
    (root.parent / "marker").rename(root / ".viewer-store")
    row = db.session.get_one(Forgetting, found.id, populate_existing=True)
    assert (row.state, bool(row.number)) == (State.CLEARING, True)
    db.session.commit()

    for minutes in (11, 60):
        with time_machine.travel(begin + timedelta(minutes=minutes), tick=False):
            _everything_due()

    assert customers.traces(dana) == {}


def test_clean_copies_on_a_disk_that_is_away_are_waited_for(app, meet, dana, monkeypatch):
    """Also when every original is gone, as with originals in S3."""
    meet(dana, 1)
    found = forgetting.ask(dana.number, Reason.REQUEST)
    db.session.commit()
    real, begin = sharing.tidy, now() + timedelta(days=7, seconds=1)

    def away() -> int:
        raise Unavailable("The disk for photos is not there: is it mounted?")

    monkeypatch.setattr(sharing, "tidy", away)
    for hours in (0, 1, 2):
        with time_machine.travel(begin + timedelta(hours=hours), tick=False):
            _everything_due()
    db.session.commit()
    left = db.session.scalars(sa.select(Erasure)).all()
    row = db.session.get_one(Forgetting, found.id, populate_existing=True)
    assert (left, row.state, bool(row.number)) == ([], State.CLEARING, True)
    db.session.commit()

    monkeypatch.setattr(sharing, "tidy", real)
    with time_machine.travel(begin + timedelta(hours=3), tick=False):
        _everything_due()

    assert customers.traces(dana) == {}


def test_the_folder_of_another_host_is_left_to_it_until_it_is_given_up(app, meet, dana):
    theirs = RegisteredStore(kind=RegisteredStore.Kind.FOLDER, address="/srv/photos", host="two")
    db.session.add(theirs)
    db.session.commit()
    meet(dana, 3)
    found = forgetting.ask(dana.number, Reason.REQUEST)
    db.session.commit()

    run_until_done(found.id)

    assert db.session.get_one(Forgetting, found.id, populate_existing=True).number == dana.number
    waiting = db.session.scalars(sa.select(Erasure)).all()
    assert {(one.storage, one.removed_at) for one in waiting} == {(theirs.id, None)}
    assert customers.stored() == {}
    theirs.retired_at = now()  # its disk is lost: viewer storage lost
    db.session.commit()
    run_until_done(found.id)
    assert db.session.get_one(Forgetting, found.id, populate_existing=True).state is State.DONE


# --- Others --------------------------------------------------------------------------------------


@BOTH
def test_in_a_group_only_what_they_sent_goes_and_a_pseudonym_takes_part(
    app, dana, anna, deliver, work, provider, client
):
    """Our own photo to the group lay in the folder of its first number: theirs."""
    other = "+16175550199"
    theirs = _group_text(
        dana.number, [OUR_NUMBER, other], "mine", provider.serve(noise(40, 30, 50))
    )
    ours = _group_text(OUR_NUMBER, [dana.number, other], "ours", provider.serve(noise(40, 30, 60)))
    others = _group_text(
        other, [OUR_NUMBER, dana.number], "hers", provider.serve(noise(40, 30, 70))
    )
    for event in (theirs, ours, others):
        assert deliver(event).status_code == 204
    work()
    before = {one.message.body: one.sha256 for one in _all_media()}
    assert f"/{quo.folder_name(dana.number)}/" in _media_of("ours").file_path

    found = forget_now(dana.number, anna)
    with time_machine.travel(now() + timedelta(days=8)):
        work()

    assert found.state is State.DONE
    assert {one.message.body: one.sha256 for one in _all_media()} == {
        body: sha256 for body, sha256 in before.items() if body != "mine"
    }
    for media in _all_media():
        with homes.own().open(media.file_path) as file:
            assert hashlib.sha256(file.read()).hexdigest() == media.sha256
        assert media.has_thumbnail
    [home] = db.session.scalars(sa.select(Conversation)).all()
    assert {quo.display(one) for one in home.numbers} == {"(617) 555-0199", "Forgotten customer"}
    dana.mark = "nothing that anybody wrote"
    assert customers.traces(dana) == {}
    page = client.get(f"/conversations/{home.id}")
    assert "Forgotten customer" in page.text


@BOTH
def test_what_others_wrote_about_them_stays_and_is_counted(
    app, meet, dana, anna, message, deliver, work
):
    meet(dana, 3)
    words = "My neighbour has one, too: (617) 555-0177"
    text = message(sender="+16175550188", text=words, conversation="CNother")
    assert deliver(text.payload()).status_code == 204
    work()

    found = forget_now(dana.number, anna)

    assert db.session.scalars(sa.select(Message.body)).all() == [words]
    assert found.counts["mentions_kept"] == 1


@BOTH
def test_a_contact_with_another_number_keeps_that_one(app, meet, dana, anna, deliver, work):
    meet(dana, 3)
    contact = load("d3_contact_updated")
    contact["data"]["resource"] |= {"id": f"CT{dana.thread}", "phoneNumbers": [
        {"value": dana.number}, {"value": "+16175550166"}]}  # fmt: skip
    contact["data"]["resource"]["updatedAt"] = "2026-09-22T10:00:00.000Z"
    assert deliver(contact).status_code == 204
    work()

    found = forget_now(dana.number, anna)

    [row] = db.session.scalars(sa.select(Contact)).all()
    assert [one.number for one in row.numbers] == row.known_numbers == ["+16175550166"]
    assert found.remarks == ["A contact with further numbers stays, without this one."]


def test_a_photo_of_others_with_the_same_bytes_and_the_same_share_stays(
    app, meet, dana, rosa, anna, deliver, work, provider
):
    meet(dana, 3)
    same = provider.serve(dana.files["photo"])
    text = Text(number=99, sender=rosa.number, media=[same], conversation=rosa.thread)
    assert deliver(text.payload()).status_code == 204
    work()
    [twin] = rosa.media()
    [photo] = [one for one in dana.media() if one.sha256 == twin.sha256]
    share, _ = sharing.create("Both", [photo, twin], now() + timedelta(days=30), anna)
    db.session.commit()
    share_id, twin_id, path = share.id, twin.id, twin.file_path

    forget_now(dana.number, anna)

    assert [one.media_id for one in db.session.get_one(Share, share_id).items] == [twin_id]
    with homes.own().open(path) as file:
        assert file.read() == dana.files["photo"]


def test_a_file_that_a_row_names_by_the_same_key_is_not_erased(app, anna):
    media = stored_files.keep()
    found = Forgetting(
        reason=Reason.REQUEST, asked_by="", due_at=now(), state=State.CLEARING, counts={},
        remarks=[], number="+16175550100", begun_at=now() - timedelta(days=9),
    )  # fmt: skip
    db.session.add(found)
    db.session.flush()
    db.session.add(
        Erasure(forgetting_id=found.id, storage=homes.own_id(), file_path=media.file_path)
    )
    db.session.commit()

    forget.clear_own()

    with homes.own().open(media.file_path) as file:
        assert hashlib.sha256(file.read()).hexdigest() == media.sha256


def _group_text(sender: str, to: list[str], words: str, url: str) -> dict[str, Any]:
    event = load("d3_message_group_photos")
    event["id"] = f"EVgroup-{words}"
    event["type"] = "message.delivered" if sender == OUR_NUMBER else "message.received"
    event["data"]["resource"] |= {
        "id": f"ACgroup-{words}", "text": words, "media": [{"url": url, "type": "image/jpeg"}],
        "direction": "outgoing" if sender == OUR_NUMBER else "incoming",
    }  # fmt: skip
    event["data"]["context"] |= {"senderIdentifier": sender, "recipientIdentifiers": to}
    return event


def _all_media() -> list[MediaAttachment]:
    db.session.rollback()
    db.session.expire_all()
    return list(db.session.scalars(sa.select(MediaAttachment)))


def _media_of(body: str) -> MediaAttachment:
    return next(one for one in _all_media() if one.message.body == body)
