"""From what the provider said to conversation, message and media rows."""

import copy
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import BOTH
from tests.payloads import FOLDER, load
from tests.support.crowds import run_all
from viewer import jobs
from viewer.extensions import db
from viewer.intake import ingest
from viewer.models import (
    Contact,
    ContactNumber,
    Conversation,
    ConversationAlias,
    MediaAttachment,
    Message,
    PhoneLine,
    WebhookEvent,
)

NAME = "demo00000000000000000000000000"
OPSTATICS = f"https://storage.googleapis.com/opstatics/{NAME}"
VOICEMAILS = "https://m.openph.one/static/demo-vm-"
PAT, SAM, KIM = "+16175550123", "+16175550145", "+16175550146"
DAY = "2026/09/21/617-555-0123"
TEXT, CALL = Message.Kind.TEXT, Message.Kind.CALL

# name: (people, what stands in the message, its files: address, path, seconds)
SAMPLES: dict[str, tuple[str, dict[str, Any], list[tuple[str | None, str, float | None]]]] = {
    "d1_message_photos": (
        PAT,
        {"kind": TEXT, "direction": "incoming", "sender": PAT, "status": "received",
         "body": "Here is the crack by the bulkhead", "colleague": None,
         "sent_at": datetime(2026, 9, 21, 14, 13, 19, 640000, UTC)},
        [(OPSTATICS + "a1", f"{DAY}/messages/1789999999_{NAME}a1.jpg", None),
         (OPSTATICS + "a2", f"{DAY}/messages/1789999999_{NAME}a2.png", None)],
    ),
    "d1_message_group_photo": (
        f"{PAT},{SAM},{KIM}",
        {"kind": TEXT, "sender": PAT, "body": "", "direction": "incoming"},
        [(OPSTATICS + "a3", f"{DAY}/messages/1790000399_{NAME}a3.jpg", None)],
    ),
    "d1_message_delivered": (
        PAT,
        {"kind": TEXT, "direction": "outgoing", "sender": "+16175550100", "status": "delivered",
         "body": "We can come Thursday at 9", "colleague": "USdemo1"},
        [],
    ),
    "d1_call_missed_voicemail": (
        PAT,
        {"kind": CALL, "direction": "incoming", "is_missed": True, "has_voicemail": True,
         "completed_at": datetime(2026, 9, 21, 15, 2, 22, tzinfo=UTC), "seconds": None},
        [(VOICEMAILS + "1.mp3", f"{DAY}/voicemails/1790002900_voicemail.mp3", 18.0)],
    ),
    "d1_call_recording": (
        PAT,
        {"kind": CALL, "is_missed": False, "seconds": 95.0, "has_voicemail": None},
        [(OPSTATICS + "b1.mp3", f"{DAY}/recordings/1790004530_recording.mp3", 95.0)],
    ),
    "d2_message_photo": (
        PAT,
        {"kind": TEXT, "body": "Wet floor again", "sender": PAT},
        [(OPSTATICS + "c1", f"{DAY}/messages/1789999999_{NAME}c1.jpg", None)],
    ),
    "d2_call_without_participants": (
        "", {"kind": CALL, "status": "no-answer", "is_missed": True, "sender": None}, [],
    ),
    "d2_call_recording": (
        PAT,
        {"kind": CALL, "seconds": 76.0, "colleague": "USdemo1"},
        [(OPSTATICS + "c2.mp3", f"{DAY}/recordings/1790004568_recording.mp3", 72.0)],
    ),
    "d2_call_summary": (
        "",
        {"kind": CALL, "summary": ["Caller reports a vertical crack, north wall."],
         "next_steps": ["Send estimate."], "direction": None},
        [],
    ),
    "d2_call_transcript": (
        "",
        {"kind": CALL, "transcript": [
            {"text": "Hello, how can I help?", "start": 0.4, "end": 2.1,
             "number": "+16175550100", "user": "USdemo1"},
            {"text": "Water in the basement.", "start": 2.6, "end": 4.9,
             "number": PAT, "user": None}]},
        [],
    ),
    "d3_message_photos": (
        PAT,
        {"kind": TEXT, "body": "Two pictures", "sender": PAT},
        [(OPSTATICS + "d1", f"{DAY}/messages/1789999999_{NAME}d1.jpg", None),
         (OPSTATICS + "d2", f"{DAY}/messages/1789999999_{NAME}d2.jpg", None)],
    ),
    "d3_message_group_photos": (
        f"{PAT},{SAM}",
        {"kind": TEXT, "body": "Two pictures", "sender": PAT},
        [(OPSTATICS + "d1", f"{DAY}/messages/1789999999_{NAME}d1.jpg", None),
         (OPSTATICS + "d2", f"{DAY}/messages/1789999999_{NAME}d2.jpg", None)],
    ),
    "d3_message_undelivered": (
        PAT, {"direction": "outgoing", "status": "undelivered", "error_code": "30006"}, [],
    ),
    "d3_call_missed": (PAT, {"kind": CALL, "is_missed": True, "has_voicemail": True}, []),
    "d3_call_voicemail": (
        PAT,
        {"kind": CALL, "provider_id": "ACcall-demo-21", "sender": PAT, "has_voicemail": True},
        [(VOICEMAILS + "2.mp3", f"{DAY}/voicemails/1790002989_voicemail.mp3", 18.0)],
    ),
    "d3_call_recordings": (
        "",
        {"kind": CALL, "seconds": 95.0},
        [(OPSTATICS + "e1.mp3", "2026/09/21/unknown-e3b0c442/recordings/1790004530_recording.mp3",
          60.0),
         (None, "2026/09/21/unknown-e3b0c442/recordings/1790004530_recording-2.mp3", None)],
    ),
    "d3_call_summary": (
        "", {"kind": CALL, "provider_id": "ACcall-demo-22", "next_steps": ["Visit Thursday."]}, [],
    ),
    "d3_call_transcript": ("", {"kind": CALL, "provider_id": "ACcall-demo-22"}, []),
}  # fmt: skip
CONTACTS = {
    "d1_contact_updated": ("Pat", False, [PAT, "+16175550124"]),
    "d1_contact_deleted": ("Pat", True, []),
    "d3_contact_updated": ("Pat", False, [PAT]),
}


@pytest.fixture
def read(app, client, deliver):
    """Deliver each payload over HTTP and ingest it, as a job would; the events."""

    def deliver_and_ingest(*payloads: Any) -> list[WebhookEvent]:
        known = set(db.session.scalars(sa.select(WebhookEvent.id)))
        db.session.rollback()
        for payload in payloads:
            assert deliver(payload).status_code == 204
            for event_id in set(db.session.scalars(sa.select(WebhookEvent.id))) - known:
                db.session.rollback()
                ingest.ingest(event_id)
                db.session.commit()
        db.session.expire_all()
        return list(
            db.session.scalars(
                sa.select(WebhookEvent)
                .where(WebhookEvent.id.not_in(known))
                .order_by(WebhookEvent.received_at)
            )
        )

    return deliver_and_ingest


def one(kind: type) -> Any:
    return db.session.scalars(sa.select(kind)).one()


def every(kind: type) -> list[Any]:
    return list(db.session.scalars(sa.select(kind).order_by(kind.created_at)))


def files() -> list[MediaAttachment]:
    return list(db.session.scalars(sa.select(MediaAttachment).order_by(MediaAttachment.position)))


def changed(name: str, event: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """A sample with other fields of the thing itself, and of the event around it."""
    payload = copy.deepcopy(load(name)) | (event or {})
    thing = payload["data"].get("resource") or payload["data"]["object"]
    thing.update(fields)
    return payload


def test_every_sample_has_its_expectation():
    assert {path.stem for path in FOLDER.glob("*.json")} == SAMPLES.keys() | CONTACTS.keys()


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_sample_becomes_the_right_rows(name, read):
    people, expected, expected_files = SAMPLES[name]

    [event] = read(load(name))

    assert (event.state, event.problem) == (WebhookEvent.State.PROCESSED, None)
    message, conversation = one(Message), one(Conversation)
    assert {field: getattr(message, field) for field in expected} == expected
    assert (message.conversation_id, conversation.participants) == (conversation.id, people)
    assert conversation.latest_at == message.sent_at
    assert [
        (row.openphone_url, row.file_path, row.duration_seconds) for row in files()
    ] == expected_files
    for row in files():
        assert (row.message_id, row.conversation_id) == (message.id, conversation.id)
        assert row.state is MediaAttachment.State.PENDING
        assert (row.problem is None) == (row.openphone_url is not None)


@pytest.mark.parametrize("name", sorted(CONTACTS))
def test_a_contact_has_its_name_and_numbers(name, read):
    first_name, is_deleted, numbers = CONTACTS[name]

    read(load(name))

    contact = one(Contact)
    assert (contact.name, contact.deleted) == (first_name, is_deleted)
    assert sorted(db.session.scalars(sa.select(ContactNumber.number))) == numbers


def test_a_name_follows_the_newest_telling_and_a_number_may_go(read):
    newer = changed("d3_contact_updated", firstName="Patricia", updatedAt="2026-09-22T07:00:00Z",
                    phoneNumbers=[{"value": SAM}])  # fmt: skip

    read(newer, load("d1_contact_updated"), load("d3_contact_updated"))

    assert one(Contact).name == "Patricia"
    assert db.session.scalars(sa.select(ContactNumber.number)).all() == [SAM]


PHOTO = {"url": OPSTATICS + "f1", "type": "image/jpeg"}


@pytest.mark.parametrize(
    ("media", "addresses"),
    [
        ([PHOTO], [PHOTO["url"]]),
        (PHOTO, [PHOTO["url"]]),
        ([PHOTO["url"]], [PHOTO["url"]]),
        (PHOTO["url"], [PHOTO["url"]]),
        ([PHOTO, PHOTO, PHOTO["url"]], [PHOTO["url"]]),
        ([PHOTO, {"url": PHOTO["url"] + "?X-Amz-Signature=1"}], None),
        ([None, PHOTO, None], [PHOTO["url"]]),
        (None, []),
        ([None], []),
        ([], []),
        ("", []),
        ({}, []),
        ([{}], []),
        ([[]], []),
        ([{"type": "image/jpeg"}], [None]),
        ([{"url": None, "type": "image/jpeg"}, PHOTO], [None, PHOTO["url"]]),
    ],
)
def test_media_in_every_shape(media, addresses, read):
    [event] = read(changed("d3_message_photos", media=media))

    assert event.state is WebhookEvent.State.PROCESSED
    if addresses is None:  # one file, whichever of its two signatures
        assert len(files()) == 1
    else:
        assert [row.openphone_url for row in files()] == addresses


DOWNLOAD = "https://files.example.com/download"


@pytest.mark.parametrize(
    "name", ["token", "sig", "se", "sp", "sv", "sr", "st", "hmac", "signature", "expires", "policy"]
)
def test_two_photos_whose_addresses_differ_only_in_a_token_are_two(name, read):
    first, second = (f"{DOWNLOAD}?{name}={word}" for word in ("aaa", "bbb"))

    [event] = read(changed("d3_message_photos", media=[first, second]))

    assert event.state is WebhookEvent.State.PROCESSED
    assert [row.openphone_url for row in files()] == [first, second]
    assert all(row.next_attempt_at for row in files())


def test_the_same_message_told_again_with_fresh_tokens_makes_no_new_photos(read):
    def told(*tokens: str, minute: int = 0) -> Any:
        return changed("d3_message_photos", media=[f"{DOWNLOAD}?token={one}" for one in tokens],
                       updatedAt=f"2026-09-21T14:1{minute}:00Z")  # fmt: skip

    # Fresh ones, those of before, those of before in another order, and a single one of them.
    read(told("aaa", "bbb"), told("ccc", "ddd", minute=5), told("aaa", "bbb"),
         told("bbb", "aaa", minute=6), told("bbb", minute=7), told("aaa", minute=7),
         told("eee", "fff", minute=8))  # fmt: skip

    tokens = {str(row.openphone_url)[-3:] for row in files()}
    assert tokens == {"eee", "fff"}


def test_photos_in_another_order_with_fresh_tokens_stay_as_many(read):
    for tokens in (["aaa", "bbb"], ["ccc", "aaa"], ["bbb", "ddd"], ["ddd", "eee", "ccc"]):
        [event] = read(
            changed("d3_message_photos", media=[f"{DOWNLOAD}?token={one}" for one in tokens])
        )
        assert event.state is WebhookEvent.State.PROCESSED

    found = {str(row.openphone_url)[-3:] for row in files()}
    assert found >= {"aaa", "bbb"}
    assert len(found) == len(files())


def test_recordings_that_only_ids_and_tokens_tell_apart_stay_apart(read):
    def told(*segments: tuple[str, str]) -> Any:
        return changed("d3_call_recordings", recordings=[
            {"id": id, "url": f"{DOWNLOAD}?token={token}"} for id, token in segments])  # fmt: skip

    read(told(("CR1", "aaa")), told(("CR2", "bbb")), told(("CR2", "ccc"), ("CR1", "ddd")),
         told(("CR1", "eee")))  # fmt: skip

    assert sorted(str(row.provider_id) for row in files()) == ["CR1", "CR2"]


def test_files_that_are_only_announced_are_as_many_as_announced(read):
    unknown = {"url": None, "type": "image/jpeg"}

    read(changed("d3_message_photos", media=[unknown, unknown]),
         changed("d3_message_photos", media=[unknown]),
         changed("d3_message_photos", media=[unknown, unknown, unknown]))  # fmt: skip

    assert len(files()) == 3


def test_two_addresses_that_became_one_row_alarm(read):
    one, other = OPSTATICS + "e1.mp3", OPSTATICS + "e2.mp3"
    read(changed("d3_call_recordings", recordings=[{"id": "CR1", "url": one}]),
         changed("d3_call_recordings", recordings=[{"id": "CR1", "url": other}]))  # fmt: skip

    [event] = read(changed("d3_call_recordings", recordings=[{"url": one}, {"url": other}]))

    assert event.state is WebhookEvent.State.UNPARSED
    assert "1 addresses" in event.problem


def test_media_that_is_missing_is_none_at_all(read):
    payload = load("d2_message_photo")
    del payload["data"]["object"]["media"]

    [event] = read(payload)

    assert event.state is WebhookEvent.State.PROCESSED
    assert files() == []


def test_two_hundred_photos_in_one_message_have_two_hundred_names(read):
    read(changed("d3_message_photos", media=[f"{OPSTATICS}{n:03}" for n in range(200)]))

    assert len({row.file_stem for row in files()}) == 200
    assert [row.position for row in files()] == list(range(200))


def test_a_group_keeps_its_people_when_a_delivery_names_only_some_of_them(read):
    some = changed("d3_message_undelivered", id="ACmsg-demo-9")
    some["data"]["context"] |= {"conversationId": "CNdemo2", "recipientIdentifiers": [SAM]}

    read(load("d1_message_group_photo"), some)

    assert one(Conversation).participants == f"{PAT},{SAM},{KIM}"


def test_a_private_conversation_and_a_group_stay_apart(read):
    read(load("d1_message_photos"), load("d1_message_group_photo"))

    assert {row.participants for row in every(Conversation)} == {PAT, f"{PAT},{SAM},{KIM}"}


def test_a_delivery_without_conversation_id_joins_by_its_people(read):
    without = changed("d3_message_photos")
    without["data"]["context"]["conversationId"] = None

    read(without, load("d1_message_photos"), load("d2_message_photo"))

    assert one(Conversation).participants == PAT
    assert db.session.scalars(sa.select(ConversationAlias.provider_id)).all() == ["CNdemo1"]


def test_a_deep_link_tells_the_conversation_where_nobody_is_named(read):
    read(load("d2_message_photo"), load("d2_call_without_participants"))

    assert len({message.conversation_id for message in every(Message)}) == 1


def test_an_old_address_of_a_merged_conversation_leads_to_the_new_one(read, app, settings):
    lonely = changed("d2_call_transcript", callId="ACcall-demo-12")
    read(lonely)
    old = one(Conversation).id

    read(load("d1_message_photos"), load("d2_call_recording"))

    alias = db.session.get(ConversationAlias, str(old))
    assert one(Conversation).id in {old, getattr(alias, "conversation_id", None)}


def test_our_own_number_learnt_late_leaves_nobody_talking_to_us(settings, request):
    settings["QUO_NUMBERS"] = ""
    read = request.getfixturevalue("read")
    read(load("d2_call_recording"))
    assert one(Conversation).participants == f"+16175550100,{PAT}"

    read(load("d1_message_delivered"))

    assert one(Conversation).participants == PAT
    assert one(PhoneLine).number == "+16175550100"
    assert files()[0].file_path.startswith(DAY)


@pytest.mark.parametrize("our_number", ["+16175550100", ""], ids=["told", "learnt"])
def test_a_call_whose_direction_is_wrong_makes_no_customer_one_of_us(settings, request, our_number):
    settings["QUO_NUMBERS"] = our_number
    read = request.getfixturevalue("read")

    read(load("d1_message_photos"),
         changed("d1_call_recording", direction="outgoing"),
         changed("d1_message_photos", id="ACmsg-demo-2", media=[OPSTATICS + "b7"]))  # fmt: skip

    assert one(PhoneLine).number == "+16175550100"
    assert one(Conversation).participants == PAT
    assert {row.file_path.rpartition("/")[0].rpartition("/")[0] for row in files()} == {DAY}


def test_a_voicemail_in_the_call_and_as_its_own_event_is_one_file(read):
    inside = changed("d1_call_missed_voicemail", id="ACcall-demo-21")
    inside["data"]["object"]["voicemail"]["url"] = VOICEMAILS + "2.mp3"

    read(load("d3_call_missed"), inside, load("d3_call_voicemail"))

    assert [row.openphone_url for row in files()] == [VOICEMAILS + "2.mp3"]
    assert one(Message).has_voicemail is True


def test_a_voicemail_announced_without_address_becomes_the_one_that_comes(read):
    announced = changed("d3_call_voicemail", recordingUrl=None, voicemailId=None)
    read(announced)
    assert files()[0].openphone_url is None

    read(load("d3_call_voicemail"), announced)

    assert [row.openphone_url for row in files()] == [VOICEMAILS + "2.mp3"]


def test_a_segment_that_was_not_ready_is_collected_when_it_is(read):
    ready = {"id": "CRdemo3", "url": OPSTATICS + "e2.mp3", "duration": 4}
    read(load("d3_call_recordings"))
    assert files()[1].problem == "The phone provider has not said yet where the file is."

    read(changed("d3_call_recordings", recordings=[ready]))

    first, second = sorted(files(), key=lambda row: row.openphone_url)
    assert (first.provider_id, second.provider_id) == ("CRdemo2", "CRdemo3")
    assert (second.problem, second.duration_seconds) == (None, 4.0)
    assert second.next_attempt_at is not None


def test_a_fresh_address_of_a_file_is_tried_at_once(read):
    fresh = OPSTATICS + "e1.mp3?X-Goog-Signature=new"
    read(load("d3_call_recordings"))
    row = files()[0]
    row.state, row.attempts = MediaAttachment.State.NEEDS_ATTENTION, 3
    row.next_attempt_at = datetime(2030, 1, 1, tzinfo=UTC)
    db.session.commit()

    read(changed("d3_call_recordings", updatedAt="2026-09-21T16:00:00Z",
                 recordings=[{"id": "CRdemo2", "url": fresh}]))  # fmt: skip

    row = files()[0]
    assert row.openphone_url == fresh
    assert row.next_attempt_at < datetime(2030, 1, 1, tzinfo=UTC)


def test_a_file_whose_download_has_begun_keeps_its_name(read):
    read(load("d3_call_voicemail"))
    row = files()[0]
    name, row.attempts = row.file_path, 1
    db.session.commit()

    read(load("d3_call_missed"))

    assert one(Message).sent_at == datetime(2026, 9, 21, 15, 1, 40, tzinfo=UTC)
    assert files()[0].file_path == name


@pytest.mark.parametrize("first", ["transcript", "summary", "recording"])
def test_the_aftermath_of_a_call_may_come_before_it(first, read):
    story = {
        "transcript": load("d2_call_transcript"),
        "summary": load("d2_call_summary"),
        "recording": load("d2_call_recording"),
    }

    read(story.pop(first), *story.values())

    message, conversation = one(Message), one(Conversation)
    assert (len(message.transcript), len(message.summary), len(files())) == (2, 1, 1)
    assert conversation.participants == PAT


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1]])
def test_a_failure_is_not_undone_by_an_older_word(order, read):
    told = [
        changed("d3_message_undelivered", {"type": f"message.{status}"}, status=status)
        for status in ("delivered", "undelivered", "failed")
    ]

    read(*(told[number] for number in order))

    assert one(Message).status == "failed"


@pytest.mark.parametrize(
    "payload",
    [
        {"id": "EVx", "type": "message.exploded", "data": {"resource": {"id": "ACx"}}},
        {"id": "EVx", "data": {"resource": {"id": "ACx"}}},
        {"id": "EVx", "type": "message.received", "data": []},
        {"id": "EVx", "type": "message.received", "data": {"resource": {"text": "no id"}}},
        b"[]",
        b"not json",
        b'{"type": "message.received", "type": "twice"}',
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
        b"\xff\xfe\x00",
    ],
)
def test_what_nobody_understands_is_kept_and_shown(payload, read):
    [event] = read(payload)

    assert event.state is WebhookEvent.State.UNPARSED
    assert event.problem
    assert event.body == (payload if isinstance(payload, bytes) else compact(payload))
    assert every(Message) == []


def test_a_renamed_field_alarms_and_the_rest_is_taken(read):
    payload = changed("d3_message_photos", attachments=[{"href": OPSTATICS + "z9"}])

    [event] = read(payload)

    assert event.state is WebhookEvent.State.UNPARSED
    assert "1 addresses" in event.problem
    assert len(files()) == 2
    assert one(Message).body == "Two pictures"


@pytest.mark.parametrize("kind", ["task.created", "call.ringing", "integration.updated"])
def test_what_is_of_no_interest_is_read_and_forgotten(kind, read):
    [event] = read({"id": "EVx", "type": kind, "data": {"resource": {"id": "x"}}})

    assert (event.state, event.kind) == (WebhookEvent.State.PROCESSED, kind)
    assert every(Message) == []


def test_an_event_that_comes_late_is_filed_under_its_own_date(read):
    read(changed("d3_message_photos", createdAt="2026-03-01T12:00:00Z"))

    assert files()[0].file_path.startswith("2026/03/01/617-555-0123/messages/1772366400_")
    assert one(Conversation).latest_at == datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "day"),
    [
        ("1970-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59Z", None),
        (0, None),
        (-1, None),
        ("yesterday", None),
        (None, None),
        ("2026-02-30T00:00:00Z", None),
        ("2024-02-29T23:59:60Z", "2024/03/01"),
        ("2026-03-01T01:00:00+14:00", "2026/02/28"),
        ("2026-02-28T23:00:00-12:00", "2026/03/01"),
        (1772366400, "2026/03/01"),
        (1772366400000, "2026/03/01"),
    ],
)
def test_an_absurd_time_names_no_folder(given, day, read):
    payload = changed("d3_message_photos", {"createdAt": given}, createdAt=given)

    [event] = read(payload)

    assert files()[0].file_path.startswith(day or f"{event.received_at:%Y/%m/%d}")


@BOTH
def test_sixteen_deliveries_and_ingests_at_once_leave_one_row_each(app, database):
    body = compact(load("d1_message_photos"))
    barrier, problems = threading.Barrier(16), []

    def deliver_and_ingest() -> None:
        try:
            with app.app_context():
                barrier.wait()
                event, _ = WebhookEvent.record("EVdemo-a1", "legacy", body)
                event_id = event.id
                db.session.commit()
                ingest.ingest(event_id)
                db.session.commit()
        except Exception as problem:  # noqa: BLE001 - told in the main thread
            problems.append(problem)

    run_all([threading.Thread(target=deliver_and_ingest) for _ in range(16)])

    assert problems == []
    counts = {kind: len(db.session.scalars(sa.select(kind)).all())
              for kind in (WebhookEvent, Conversation, Message, MediaAttachment)}  # fmt: skip
    assert counts == {WebhookEvent: 1, Conversation: 1, Message: 1, MediaAttachment: 2}
    assert one(WebhookEvent).attempts == 1


@BOTH
def test_workers_that_read_of_one_new_conversation_at_once_make_one(app, database):
    told = [changed("d1_message_photos", id=f"ACmsg-demo-{n}") for n in range(6)]
    events = [WebhookEvent.record(f"EV{n}", "legacy", compact(t))[0] for n, t in enumerate(told)]
    db.session.commit()
    barrier = threading.Barrier(len(events))

    def work(event_id: Any) -> None:
        with app.app_context():
            barrier.wait()
            ingest.ingest(event_id)
            db.session.commit()

    run_all([threading.Thread(target=work, args=(event.id,)) for event in events])

    assert len(one(Conversation).messages) == 6
    assert len({row.file_stem for row in files()}) == 12


def test_an_event_on_which_our_program_fails_waits_visibly(app: Flask, monkeypatch):
    monkeypatch.setenv("VIEWER_FAILPOINTS", "ingest.read=raise")
    event, _ = WebhookEvent.record("EV1", "legacy", compact(load("d1_message_photos")))
    db.session.commit()

    for _ in range(ingest.TRIES):
        with pytest.raises(Exception, match=r"ingest\.read"):
            jobs.ingest_event(str(event.id))

    db.session.refresh(event)
    assert event.state is WebhookEvent.State.UNPARSED
    assert "Our program failed" in event.problem
    assert every(Message) == []


@BOTH
@pytest.mark.parametrize("name", sorted(SAMPLES | CONTACTS))
@pytest.mark.parametrize("size", [150, 5000])
def test_no_text_of_the_providers_is_too_long_for_its_column(name, size, app, database):
    expected = len(SAMPLES[name][2]) if name in SAMPLES else 0
    for number, payload in enumerate(swollen(load(name), "x" * size)):
        event, _ = WebhookEvent.record(f"EV{number}", "legacy", compact(payload))
        ingest.ingest(event.id)
        db.session.flush()

        assert event.state is WebhookEvent.State.PROCESSED, event.problem
        assert len(files()) >= expected
        db.session.rollback()


@BOTH
def test_the_id_of_a_delivery_in_the_providers_log_may_be_long(app, database):
    ids = ["x" * 300 + end for end in "aba"]

    kept = [WebhookEvent.record(id, "log", compact({"id": id})) for id in ids]

    assert [is_new for _, is_new in kept] == [True, True, False]


def swollen(payload: dict[str, Any], long: str) -> Iterator[dict[str, Any]]:
    """The payload with several fields too long, then with one after the other."""
    words = {"status": long, "errorCode": long, "type": f"image/jpeg; name={long}"}
    yield changed_everywhere(payload, words)
    for path in leaves(payload):
        if path not in [("type",), ("apiVersion",)]:
            found = copy.deepcopy(payload)
            place: Any = found
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = (place[path[-1]] or "") + long
            yield found


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where texts stand, or could."""
    match value:
        case dict():
            for key, item in value.items():
                yield from leaves(item, (*path, key))
        case list():
            for place, item in enumerate(value):
                yield from leaves(item, (*path, place))
        case str() | None:
            yield path


def changed_everywhere(payload: dict[str, Any], words: dict[str, str]) -> dict[str, Any]:
    found = copy.deepcopy(payload)
    thing = found["data"].get("resource") or found["data"]["object"]
    thing |= {name: word for name, word in words.items() if name != "type"}
    for items in (thing.get("media"), thing.get("recordings"), [thing.get("voicemail")]):
        for item in items or []:
            if isinstance(item, dict):
                item |= words
    return found


def compact(payload: Any) -> bytes:
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
