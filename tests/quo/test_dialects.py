"""Every dialect in our words; fault rows 87, 94, 95 and 96."""

import copy
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from viewer.quo import NotUnderstood, kind_of, read_json, understand, understand_rest, urls_in
from viewer.quo.types import (
    CallSeen,
    ContactSeen,
    Direction,
    MediaSeen,
    MessageSeen,
    Nothing,
    Parties,
    Role,
    TranscriptLine,
)

SAMPLES = {
    path.stem: path.read_bytes()
    for path in sorted((Path(__file__).parents[1] / "payloads").glob("d[123]_*.json"))
}
US, CUSTOMER = "+16175550100", "+16175550123"
STORE = "https://storage.googleapis.com/opstatics/demo00000000000000000000000000"
HEARD = datetime(2026, 9, 21, 18, 0, tzinfo=UTC)
OBVIOUS = Parties(
    conversation="CNdemo1", line="PNdemo1", sender=CUSTOMER, numbers=(CUSTOMER, US), ours=(US,)
)


def at(hour, minute, second=0, milliseconds=0):
    return datetime(2026, 9, 21, hour, minute, second, milliseconds * 1000, tzinfo=UTC)


def sample(name):
    return read_json(SAMPLES[name])


def seen(name):
    return understand(sample(name), received_at=HEARD)


def changed(name, *path, to):
    """What is understood of a sample with one field set, or removed where `to` is absent."""
    payload = sample(name)
    place = payload
    for step in path[:-1]:
        place = place[step]
    if to is ABSENT:
        place.pop(path[-1], None)
    else:
        place[path[-1]] = to
    return understand(payload, received_at=HEARD)


ABSENT = ...  # the field is not there at all
D1_OBJECT, D3_RESOURCE = ("data", "object"), ("data", "resource")


# Samples


def test_d1_message_with_photos():
    assert seen("d1_message_photos") == MessageSeen(
        provider_id="ACmsg-demo-1",
        parties=OBVIOUS,
        direction=Direction.INCOMING,
        said_at=at(14, 13, 19, 812),
        sent_at=at(14, 13, 19, 640),
        body="Here is the crack by the bulkhead",
        status="received",
        media=(
            MediaSeen(Role.ATTACHMENT, f"{STORE}a1", "image/jpeg"),
            MediaSeen(Role.ATTACHMENT, f"{STORE}a2", "image/png"),
        ),
    )


def test_d1_group_photo_without_words_says_nothing_about_which_recipient_is_ours():
    message = seen("d1_message_group_photo")

    assert message.body == ""
    assert message.media == (MediaSeen(Role.ATTACHMENT, f"{STORE}a3", "image/jpeg"),)
    assert message.parties == Parties(
        conversation="CNdemo2",
        line="PNdemo1",
        sender=CUSTOMER,
        numbers=(CUSTOMER, US, "+16175550145", "+16175550146"),
    )


def test_d1_message_that_we_sent():
    message = seen("d1_message_delivered")

    assert message.direction is Direction.OUTGOING
    assert message.status == "delivered"
    assert message.user == "USdemo1"
    assert message.parties.ours == (US,)
    assert message.parties.numbers == (US, CUSTOMER)
    assert message.media == ()


def test_d1_missed_call_carries_its_voicemail():
    assert seen("d1_call_missed_voicemail") == CallSeen(
        provider_id="ACcall-demo-1",
        parties=replace(OBVIOUS, ours=()),  # the direction of a call may be wrong
        said_at=at(15, 2, 25, 400),
        direction=Direction.INCOMING,
        sent_at=at(15, 1, 40),
        completed_at=at(15, 2, 22),
        status="completed",
        user="USdemo1",
        has_voicemail=True,
        media=(
            MediaSeen(
                Role.VOICEMAIL, "https://m.openph.one/static/demo-vm-1.mp3", "audio/mpeg", 18.0
            ),
        ),
    )


@pytest.mark.parametrize("direction", ["incoming", "outgoing"])
@pytest.mark.parametrize("name", ["d1_call_recording", "d2_call_recording"])
def test_the_direction_of_a_call_proves_no_number_ours(name, direction):
    call = changed(name, "data", "object", "direction", to=direction)

    assert call.parties.ours == ()


def test_d1_recording_lies_in_media_and_the_duration_follows_from_the_times():
    call = seen("d1_call_recording")

    assert call.provider_id == "ACcall-demo-2"
    assert call.duration_seconds == 95
    assert call.media == (MediaSeen(Role.RECORDING, f"{STORE}b1.mp3", "audio/mpeg", 95.0),)
    assert call.has_voicemail is None


def test_d1_contact_with_numbers_in_labelled_fields():
    assert seen("d1_contact_updated") == ContactSeen(
        provider_id="CTdemo1",
        said_at=at(16, 0),
        first_name="Pat",
        numbers=(CUSTOMER, "+16175550124"),
    )


def test_d1_deleted_contact_does_not_say_its_numbers():
    contact = seen("d1_contact_deleted")

    assert contact.deleted
    assert contact.numbers is None


def test_d2_message_is_in_the_conversation_of_its_deep_link():
    message = seen("d2_message_photo")

    assert message.parties == OBVIOUS
    assert message.body == "Wet floor again"
    assert message.media == (MediaSeen(Role.ATTACHMENT, f"{STORE}c1", "image/jpeg"),)


def test_d2_call_without_participants_names_nobody():
    call = seen("d2_call_without_participants")

    assert call.parties == Parties(conversation="CNdemo1", line="PNdemo1")
    assert call.status == "no-answer"
    assert call.duration_seconds == 16
    assert call.answered_at is None
    assert call.said_at == at(15, 2, 18)
    assert call.media == ()


def test_d2_recording_has_an_id_and_its_participants_prove_nothing():
    call = seen("d2_call_recording")

    assert call.parties.numbers == (CUSTOMER, US)
    assert call.parties.ours == ()
    assert call.duration_seconds == 76
    assert call.user == "USdemo1"
    assert call.media == (
        MediaSeen(Role.RECORDING, f"{STORE}c2.mp3", "audio/mpeg", 72.0, "CRdemo1"),
    )


def test_d2_summary_belongs_to_its_call_and_is_silent_about_the_call_itself():
    assert seen("d2_call_summary") == CallSeen(
        provider_id="ACcall-demo-12",
        parties=Parties(conversation="CNdemo1"),
        said_at=at(15, 32),
        summary=("Caller reports a vertical crack, north wall.",),
        next_steps=("Send estimate.",),
    )


def test_d2_transcript_tells_who_spoke():
    assert seen("d2_call_transcript") == CallSeen(
        provider_id="ACcall-demo-12",
        parties=Parties(),
        said_at=at(15, 33),
        transcript=(
            TranscriptLine("Hello, how can I help?", 0.4, 2.1, US, "USdemo1"),
            TranscriptLine("Water in the basement.", 2.6, 4.9, CUSTOMER, None),
        ),
    )


def test_d3_message_with_photos_one_of_unknown_type():
    message = seen("d3_message_photos")

    assert message.provider_id == "ACmsg-demo-21"
    assert message.parties == OBVIOUS
    assert message.body == "Two pictures"
    assert message.user is None
    assert message.media == (
        MediaSeen(Role.ATTACHMENT, f"{STORE}d1", "image/jpeg"),
        MediaSeen(Role.ATTACHMENT, f"{STORE}d2"),
    )


def test_d3_group_message():
    message = seen("d3_message_group_photos")

    assert message.parties.numbers == (CUSTOMER, US, "+16175550145")
    assert message.parties.ours == ()


def test_d3_undelivered_message_says_why():
    message = seen("d3_message_undelivered")

    assert message.direction is Direction.OUTGOING
    assert (message.status, message.error_code) == ("undelivered", "30006")
    assert message.parties.ours == (US,)


def test_d3_failed_message_has_no_media_field():
    payload = sample("d3_message_undelivered") | {"type": "message.failed"}
    del payload["data"]["resource"]["media"], payload["data"]["resource"]["status"]

    message = understand(payload, received_at=HEARD)

    assert message.status == "failed"
    assert message.media == ()


def test_d3_missed_call_announces_a_voicemail():
    assert seen("d3_call_missed") == CallSeen(
        provider_id="ACcall-demo-21",
        parties=OBVIOUS,
        said_at=at(15, 2, 22),
        direction=Direction.INCOMING,
        sent_at=at(15, 1, 40),
        completed_at=at(15, 2, 22),
        status="unanswered",
        user="USdemo1",
        has_voicemail=True,
    )


def test_d3_voicemail_belongs_to_its_call_and_leaves_the_times_of_the_call_alone():
    assert seen("d3_call_voicemail") == CallSeen(
        provider_id="ACcall-demo-21",
        parties=OBVIOUS,
        said_at=at(15, 3, 9),
        direction=Direction.INCOMING,
        has_voicemail=True,
        media=(
            MediaSeen(
                Role.VOICEMAIL,
                "https://m.openph.one/static/demo-vm-2.mp3",
                None,
                18.0,
                "VMdemo1",
            ),
        ),
    )


def test_d3_voicemail_of_no_known_call_stands_for_itself():
    call = changed("d3_call_voicemail", *D3_RESOURCE, "callId", to=None)

    assert call.provider_id == "ACvm-demo-1"
    assert call.sent_at == at(15, 2, 22)


def test_d3_voicemail_without_address_is_announced():
    call = changed("d3_call_voicemail", *D3_RESOURCE, "recordingUrl", to=None)

    assert call.media == (MediaSeen(Role.VOICEMAIL, None, None, 18.0, "VMdemo1"),)


def test_d3_recordings_come_in_segments_of_which_one_is_not_ready():
    call = seen("d3_call_recordings")

    assert call.media == (
        MediaSeen(Role.RECORDING, f"{STORE}e1.mp3", "audio/mpeg", 60.0, "CRdemo2"),
        MediaSeen(Role.RECORDING, None, provider_id="CRdemo3"),
    )
    assert call.parties == Parties(conversation="CNdemo1", line="PNdemo1")
    assert call.duration_seconds == 95


def test_d3_summary_and_transcript():
    assert seen("d3_call_summary").summary == ("Crack on north wall, leaking.",)
    assert seen("d3_call_summary").next_steps == ("Visit Thursday.",)
    assert seen("d3_call_transcript").transcript == (
        TranscriptLine("It is leaking again.", 1.2, 3.9, CUSTOMER, None),
    )
    assert seen("d3_call_transcript").parties.line == "PNdemo1"


def test_d3_contact():
    contact = seen("d3_contact_updated")

    assert (contact.first_name, contact.last_name) == ("Pat", None)
    assert contact.numbers == (CUSTOMER,)


def test_no_sample_has_an_address_that_is_overlooked():
    for name in SAMPLES:
        media = getattr(seen(name), "media", ())

        assert urls_in(sample(name)) == [item.url for item in media if item.url]


# Variations


@pytest.mark.parametrize("to", [[US], US, [{"phoneNumber": US}], f" {US} ", [US, US], [None, US]])
def test_a_single_recipient_is_ours_however_it_is_written(to):
    assert changed("d2_message_photo", *D1_OBJECT, "to", to=to).parties == OBVIOUS


@pytest.mark.parametrize("to", [ABSENT, None, "", [], [None], 7, {}])
def test_a_missing_recipient_is_not_said(to):
    parties = changed("d2_message_photo", *D1_OBJECT, "to", to=to).parties

    assert parties.numbers == (CUSTOMER,)
    assert parties.ours == ()


@pytest.mark.parametrize("sender", [ABSENT, None, "", [], {}])
def test_a_missing_sender_is_not_said(sender):
    parties = changed("d1_message_photos", *D1_OBJECT, "from", to=sender).parties

    assert parties.sender is None
    assert parties.numbers == (US,)


@pytest.mark.parametrize("media", [ABSENT, None, [], "", {}, [None], [{}], " ", 7, True, [[[]]]])
def test_a_message_without_media_is_a_message(media):
    message = changed("d1_message_photos", *D1_OBJECT, "media", to=media)

    assert message.media == ()
    assert message.body


@pytest.mark.parametrize(
    "media",
    [
        f"{STORE}a1",
        [f"{STORE}a1"],
        {"url": f"{STORE}a1"},
        [{"url": f" {STORE}a1\n", "type": None}],
        [[{"url": f"{STORE}a1"}], f"{STORE}a1", None],
    ],
)
def test_a_file_is_seen_however_it_is_written(media):
    message = changed("d1_message_photos", *D1_OBJECT, "media", to=media)

    assert message.media == (MediaSeen(Role.ATTACHMENT, f"{STORE}a1"),)


def test_a_file_without_address_is_still_announced():
    message = changed("d1_message_photos", *D1_OBJECT, "media", to=[{"type": "image/jpeg"}])

    assert message.media == (MediaSeen(Role.ATTACHMENT, None, "image/jpeg"),)


def test_two_hundred_files_are_two_hundred_files():
    media = [{"url": f"{STORE}{n}"} for n in range(200)]

    assert len(changed("d3_message_photos", *D3_RESOURCE, "media", to=media).media) == 200


@pytest.mark.parametrize("type_", ["message.received", "message.delivered"])
@pytest.mark.parametrize("field", ["incoming", "outgoing", None, "sideways", {}])
def test_the_direction_is_the_events_not_the_fields(type_, field):
    payload = sample("d1_message_photos") | {"type": type_}
    payload["data"]["object"]["direction"] = field

    is_incoming = understand(payload, received_at=HEARD).direction is Direction.INCOMING

    assert is_incoming == (type_ == "message.received")


@pytest.mark.parametrize("name", ["d1_message_photos", "d2_message_photo"])
def test_words_are_found_under_either_name(name):
    for names in ({"text": "hello"}, {"body": "hello"}, {"text": "", "body": "hello"}):
        payload = sample(name)
        thing = payload["data"]["object"]
        thing.pop("text", None)
        thing.pop("body", None)
        thing.update(names)

        assert understand(payload, received_at=HEARD).body == "hello"


@pytest.mark.parametrize(
    ("link", "conversation"),
    [
        ("https://my.quo.com/inbox/PNdemo1/c/CNdemo9", "CNdemo9"),
        ("https://my.quo.com/inbox/PNdemo1/c/CNdemo9/x", "CNdemo9"),
        ("https://my.quo.com/inbox/PNdemo1/c/CNdemo9#x", "CNdemo9"),
        ("https://my.quo.com/inbox/PNdemo1/c/elsewhere", None),
        (None, None),
        (7, None),
    ],
)
def test_a_deep_link_names_the_conversation(link, conversation):
    message = changed("d2_message_photo", "data", "deepLink", to=link)

    assert message.parties.conversation == conversation


def test_a_link_in_the_new_dialect_names_the_conversation_too():
    message = changed("d3_message_photos", "data", "context", "conversationId", to=None)

    assert message.parties.conversation == "CNdemo1"


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_resource_context_and_links_may_stand_at_the_top(name):
    payload = sample(name)
    payload |= payload.pop("data")

    assert understand(payload, received_at=HEARD) == seen(name)


@pytest.mark.parametrize(
    "voicemail",
    ["https://m.openph.one/static/demo-vm-1.mp3", {"recordingUrl": "https://x.example/vm.mp3"}],
)
def test_a_voicemail_in_a_call_may_be_written_in_other_ways(voicemail):
    call = changed("d1_call_missed_voicemail", *D1_OBJECT, "voicemail", to=voicemail)

    assert [item.role for item in call.media] == [Role.VOICEMAIL]
    assert call.has_voicemail


def test_a_voicemail_under_another_events_names_is_not_lost():
    for name in ("media", "recordings"):
        payload = sample("d3_call_voicemail")
        resource = payload["data"]["resource"]
        resource[name] = [{"url": resource.pop("recordingUrl")}]

        (voicemail,) = understand(payload, received_at=HEARD).media

        assert voicemail.role is Role.VOICEMAIL
        assert voicemail.url == "https://m.openph.one/static/demo-vm-2.mp3"


def test_a_recording_named_in_both_places_is_one_file():
    recordings = sample("d2_call_recording")["data"]["object"]["recordings"]

    call = changed("d2_call_recording", *D1_OBJECT, "media", to=[recordings[0]["url"]])

    assert [item.provider_id for item in call.media] == ["CRdemo1"]


@pytest.mark.parametrize(
    ("duration", "understood"),
    [(6.55675, 6.55675), ("12", 12.0), (-1, 35.0), (10**400, 35.0), (True, 35.0), ("x", 35.0)],
)
def test_durations_are_any_number_of_seconds(duration, understood):
    payload = sample("d3_call_recordings")
    payload["data"]["resource"] |= {
        "duration": duration,
        "answeredAt": "2026-09-21T15:00:00Z",
        "completedAt": "2026-09-21T15:00:35Z",
    }

    assert understand(payload, received_at=HEARD).duration_seconds == understood


def test_a_summary_may_be_one_text_and_its_event_named_after_the_object():
    payload = sample("d2_call_summary") | {"type": "callSummary"}
    payload["data"]["object"] |= {"summary": "Wet floor.", "nextSteps": None}

    call = understand(payload, received_at=HEARD)

    assert kind_of(payload) == "call.summary.completed"
    assert call.summary == ("Wet floor.",)
    assert call.next_steps == ()


def test_a_transcript_event_may_be_named_after_the_object():
    payload = sample("d2_call_transcript") | {"type": "callTranscript"}

    assert understand(payload, received_at=HEARD) == seen("d2_call_transcript")


@pytest.mark.parametrize("dialogue", [None, [], "", {}, [None, 7, {"content": None}]])
def test_an_unfinished_transcript_says_nothing(dialogue):
    call = changed("d3_call_transcript", *D3_RESOURCE, "dialogue", to=dialogue)

    assert call.transcript == ()


def test_a_missed_call_says_little():
    payload = {
        "type": "call.missed",
        "createdAt": "2026-09-21T15:02:25Z",
        "data": {"resource": {"id": "ACcall-demo-21"}, "context": {}, "links": {}},
    }

    assert understand(payload, received_at=HEARD) == CallSeen(
        provider_id="ACcall-demo-21",
        parties=Parties(),
        said_at=at(15, 2, 25),
        direction=Direction.INCOMING,
        status="missed",
    )


@pytest.mark.parametrize("type_", ["call.answered", "call.forwarded"])
def test_a_call_on_its_way_says_what_it_knows(type_):
    call = understand(sample("d3_call_missed") | {"type": type_}, received_at=HEARD)

    assert call.provider_id == "ACcall-demo-21"


@pytest.mark.parametrize(
    "fields",
    [
        {"Phone": CUSTOMER},
        {"Phone": "617-555-0123", "Licence": "6175550188"},
        {"Mobile phone": ["(617) 555-0123", None, ""]},
        {"Her sister": f" {CUSTOMER}"},
        [{"name": "Phone", "type": "phone-number", "value": CUSTOMER}],
        [{"name": "Her sister", "type": "phone-number", "value": "6175550123"}, None],
    ],
)
def test_a_contacts_number_is_found_in_every_form(fields):
    assert changed("d1_contact_updated", *D1_OBJECT, "fields", to=fields).numbers == (CUSTOMER,)


def test_a_contact_without_numbers_says_so():
    assert changed("d3_contact_updated", *D3_RESOURCE, "phoneNumbers", to=[]).numbers == ()


# REST


def test_a_rest_message_is_understood_and_proves_no_number_ours():
    message = understand_rest(
        "message",
        {
            "id": "ACmsg-demo-31",
            "from": CUSTOMER,
            "to": [US],
            "direction": "incoming",
            "text": "Hello",
            "status": "received",
            "phoneNumberId": "PNdemo1",
            "conversationId": "CNdemo1",
            "createdAt": "2026-09-21T14:13:19.000Z",
            "media": [{"url": f"{STORE}a1", "type": None}],
        },
        said_at=HEARD,
    )

    assert message.said_at == HEARD
    assert message.sent_at == at(14, 13, 19)
    assert message.direction is Direction.INCOMING
    assert message.parties == Parties("CNdemo1", "PNdemo1", CUSTOMER, (CUSTOMER, US))
    assert message.media == (MediaSeen(Role.ATTACHMENT, f"{STORE}a1"),)


def test_a_rest_message_without_direction_is_not_understood():
    with pytest.raises(NotUnderstood):
        understand_rest("message", {"id": "ACmsg-demo-31"}, said_at=HEARD)


@pytest.mark.parametrize(
    "participants",
    [
        [CUSTOMER, US],
        [{"phoneNumber": CUSTOMER, "actorId": None}, {"phoneNumber": US, "actorId": "USdemo1"}],
    ],
)
def test_a_rest_call_of_either_surface_is_understood(participants):
    call = understand_rest(
        "call",
        {
            "id": "ACcall-demo-31",
            "direction": "incoming",
            "participants": participants,
            "updatedAt": "2026-09-21T15:02:22.000Z",
            "summary": {"summary": ["Wet."], "nextSteps": ["Visit."]},
            "voicemail": {
                "id": "VMdemo1",
                "status": "completed",
                "duration": 18,
                "transcript": "Call me",
                "recordingUrl": "https://m.openph.one/static/demo-vm-2.mp3",
            },
        },
        said_at=HEARD,
    )

    assert call.said_at == at(15, 2, 22)
    assert call.parties.numbers == (CUSTOMER, US)
    assert call.parties.ours == ()
    assert (call.summary, call.next_steps) == (("Wet.",), ("Visit.",))
    assert call.voicemail_transcript == "Call me"
    assert call.media == seen("d3_call_voicemail").media


def test_the_aftermath_of_a_call_by_rest_is_told_which_call_it_is_about():
    voicemail = understand_rest(
        "voicemail",
        {"id": "VMdemo1", "recordingUrl": "https://m.openph.one/static/v.mp3", "transcript": None},
        said_at=HEARD,
        call_id="ACcall-demo-31",
    )
    recordings = understand_rest(
        "recording",
        [{"id": "CRdemo1", "url": None, "status": "processing"}, {"id": "CRdemo2", "url": STORE}],
        said_at=HEARD,
        call_id="ACcall-demo-31",
    )
    transcript = understand_rest(
        "transcript",
        {"callId": "ACcall-demo-31", "dialogue": [{"content": "Hello", "identifier": US}]},
        said_at=HEARD,
    )
    summary = understand_rest(
        "summary", {"callId": "ACcall-demo-31", "summary": ["Wet."]}, said_at=HEARD
    )

    told = (voicemail, recordings, transcript, summary)
    assert {call.provider_id for call in told} == {"ACcall-demo-31"}
    assert [item.provider_id for item in voicemail.media] == ["VMdemo1"]
    assert [(item.provider_id, item.url) for item in recordings.media] == [
        ("CRdemo1", None),
        ("CRdemo2", STORE),
    ]
    assert transcript.transcript == (TranscriptLine("Hello", None, None, US, None),)
    assert summary.summary == ("Wet.",)


@pytest.mark.parametrize("kind", ["voicemail", "recording", "transcript", "summary"])
def test_an_aftermath_of_no_call_is_not_understood(kind):
    with pytest.raises(NotUnderstood):
        understand_rest(kind, {"id": "VMdemo1"}, said_at=HEARD)


@pytest.mark.parametrize(
    ("status", "is_file"),
    [
        ("absent", False), ("deleted", False), ("failed", False),
        ("in-progress", True), ("paused", True), ("processing", True), ("stopped", True),
        ("stopping", True), ("completed", True), (None, True), (7, True),
    ],
)  # fmt: skip
def test_a_recording_that_will_never_be_there_is_not_announced(status, is_file):
    told = {"id": "CR1", "status": status, "url": None, "duration": None, "type": None}

    call = understand_rest("recording", [told], call_id="ACcall-demo-1", said_at=HEARD)

    assert call.media == ((MediaSeen(Role.RECORDING, None, provider_id="CR1"),) if is_file else ())


@pytest.mark.parametrize("status", ["absent", "deleted", "failed"])
def test_a_recording_with_an_address_is_a_file_whatever_its_status(status):
    told = {"id": "CR1", "status": status, "url": STORE + "c2.mp3"}

    call = understand_rest("recording", [told], call_id="ACcall-demo-1", said_at=HEARD)

    assert [item.url for item in call.media] == [STORE + "c2.mp3"]


def test_a_rest_contact_has_its_names_inside():
    contact = understand_rest(
        "contact",
        {
            "id": "CTdemo1",
            "defaultFields": {
                "firstName": "Pat",
                "company": "Example Ltd",
                "phoneNumbers": [{"id": "1", "name": "home", "value": CUSTOMER}, {"value": None}],
            },
        },
        said_at=HEARD,
    )

    assert contact == ContactSeen(
        "CTdemo1", HEARD, first_name="Pat", company="Example Ltd", numbers=(CUSTOMER,)
    )


# Times


@pytest.mark.parametrize(
    ("written", "understood"),
    [
        ("2026-09-21T14:13:20Z", at(14, 13, 20)),
        ("2026-09-21T14:13:20.5+00:00", at(14, 13, 20, 500)),
        ("2026-09-22T04:13:20+14:00", at(14, 13, 20)),
        ("2026-09-21T02:13:20-12:00", at(14, 13, 20)),
        ("2026-09-21T14:13:20", at(14, 13, 20)),
        ("2026-09-21T14:12:60Z", at(14, 13)),
        ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
        (1790000000, at(14, 13, 20)),
        (1790000000000, at(14, 13, 20)),
        ("1790000000000", at(14, 13, 20)),
        (ABSENT, None),
        (None, None),
        ("", None),
        (0, None),
        (-1, None),
        ("-1", None),
        (True, None),
        ({}, None),
        ("9" * 5000, None),
        ("1970-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59-12:00", None),
        ("9999-12-31T23:59:60Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("2026-02-29T00:00:00Z", None),
        ("yesterday", None),
        (10**400, None),
        (float("nan"), None),
        (float("inf"), None),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_a_time_is_understood_or_not_said(written, understood):
    assert changed("d1_message_photos", *D1_OBJECT, "createdAt", to=written).sent_at == understood


def test_what_has_no_time_was_said_when_it_was_heard():
    payload = sample("d3_message_photos") | {"createdAt": "9999-01-01T00:00:00Z"}
    payload["data"]["resource"]["createdAt"] = None

    assert understand(payload, received_at=HEARD).said_at == HEARD


def test_the_newest_time_of_the_thing_orders_what_is_said_about_it():
    message = changed("d1_message_photos", *D1_OBJECT, "updatedAt", to="2026-09-21T14:15:00Z")

    assert message.said_at == at(14, 15)


# Of no interest, or never heard of


@pytest.mark.parametrize(
    "kind", ["call.ringing", "call.menu.selected", "task.overdue", "integration.created"]
)
def test_events_of_no_interest_are_nothing(kind):
    assert understand({"type": kind}, received_at=HEARD) == Nothing(kind)


@pytest.mark.parametrize(
    "payload",
    [
        None,
        [],
        "message.received",
        {},
        {"type": None},
        {"type": ["message.received"]},
        {"type": "message.sent", "data": {"object": {"id": "ACmsg-demo-1"}}},
        {"type": "message.received"},
        {"type": "message.received", "data": []},
        {"type": "message.received", "data": {"object": "message"}},
        {"type": "message.received", "data": {"object": {}}},
        {"type": "message.received", "data": {"object": {"id": ""}}},
        {"type": "call.summary.completed", "data": {"object": {"id": "ACcall-demo-1"}}},
    ],
    ids=lambda payload: ascii(payload)[:50],
)
def test_what_was_never_heard_of_is_not_understood(payload):
    with pytest.raises(NotUnderstood):
        understand(payload, received_at=HEARD)


def test_ids_too_long_to_be_kept_stay_as_many():
    ids = ["x" * 300 + end for end in ("a", "b", "a")]

    kept = [changed("d3_message_photos", *D3_RESOURCE, "id", to=id).provider_id for id in ids]

    assert len(set(kept)) == 2
    assert {len(id) for id in kept} == {255}
    assert changed("d3_message_photos", *D3_RESOURCE, "id", to="y" * 255).provider_id == "y" * 255


@pytest.mark.parametrize(
    ("declared", "understood"),
    [
        ('image/jpeg; name="' + "Crack in the north wall " * 9 + '.jpg"', "image/jpeg"),
        (" image/png ;", "image/png"),
        ("image/" + "x" * 200, "image/" + "x" * 94),
        (";", None),
        ("", None),
    ],
)
def test_a_type_is_without_its_parameters(declared, understood):
    message = changed("d3_message_photos", *D3_RESOURCE, "media", 0, "type", to=declared)

    assert message.media[0].declared_type == understood


# Addresses


def test_a_renamed_field_shows_as_an_address_that_was_overlooked():
    payload = sample("d3_message_photos")
    payload["data"]["resource"]["attachments"] = payload["data"]["resource"].pop("media")

    assert understand(payload, received_at=HEARD).media == ()
    assert urls_in(payload) == [f"{STORE}d1", f"{STORE}d2"]


def test_links_that_people_type_and_the_providers_own_are_no_files():
    payload = {
        "deepLink": "https://my.quo.com/inbox/PNdemo1/c/CNdemo1",
        "links": {"quo": "https://my.quo.com/", "recording": "HTTPS://files.example/a.mp3"},
        "object": {"body": "https://shop.example/", "pictureUrl": "https://pictures.example/a"},
        "words": "see https://shop.example/ for more",
        "list": [["gs://bucket/a"], 7, None],
    }

    assert urls_in(payload) == ["HTTPS://files.example/a.mp3", "gs://bucket/a"]


# JSON


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"not json",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e400}',
        b'{"a": 1%s}' % (b"0" * 400),
        b'{"a": 1%s}' % (b"0" * 5000),
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}',
        b"[" * 10_000 + b"]" * 10_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"[" * 100 + b"]" * 100,
        b"\xff\xfe\xff",
        b"\x00",
    ],
    ids=lambda body: ascii(body[:20]),
)
def test_json_that_two_readers_could_read_differently_is_not_understood(body):
    with pytest.raises(NotUnderstood):
        read_json(body)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_in_other_encodings_is_read(encoding):
    assert read_json('{"text": "señor 💧"}'.encode(encoding)) == {"text": "señor 💧"}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (rb'"a\u0000b"', "a\ufffdb"),
        (rb'"a\ud800b"', "a\ufffdb"),
        (b'"a\xed\xa0\x80b"', "a\ufffdb"),
        (b'"a\xffb"', "a\ufffdb"),
        (rb'"\ud83d\udca7"', "💧"),
    ],
)
def test_texts_are_fit_to_be_stored(body, text):
    assert read_json(b'{"k": [%s]}' % body) == {"k": [text]}
    assert list(read_json(b"{%s: 1}" % body)) == [text]


def test_texts_are_fit_to_be_stored_even_where_the_json_was_read_by_others():
    message = changed("d1_message_photos", *D1_OBJECT, "body", to="a\x00b\ud800")

    assert message.body == "a\ufffdb\ufffd"


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_not_understood(body):
    try:
        value = read_json(body)
    except NotUnderstood:
        return

    json.dumps(value, ensure_ascii=False).encode()


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(
        ["", US, f"{US},{CUSTOMER}", "incoming", f"{STORE}a1", "2026-09-21T14:12:60Z", 10**400]
    ),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(["url", "type", "id", "value", "workspace", "quo"]) | st.text(),
            children,
            max_size=3,
        )
    ),
    max_leaves=6,
)


def places(value, path=()):
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in children:
        if isinstance(child, dict | list):
            yield from places(child, (*path, key))
        else:
            yield (*path, key)


@settings(deadline=None)
@given(data=st.data())
def test_a_mangled_payload_is_understood_or_not_and_nothing_worse(data):
    payload = copy.deepcopy(sample(data.draw(st.sampled_from(sorted(SAMPLES)))))
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from([path for path in places(payload) if path]))
        place = payload
        for step in way:
            place = place[step]
        place[last] = data.draw(ANYTHING)

    urls_in(payload)
    try:
        told = understand(payload, received_at=HEARD)
    except NotUnderstood:
        return

    if not isinstance(told, Nothing):
        assert told.said_at.tzinfo is UTC
        assert 0 < len(told.provider_id) <= 255
    repr(told).encode()


@settings(deadline=None)
@given(kind=st.sampled_from(["message", "call", "voicemail", "recording", "contact"]), obj=ANYTHING)
def test_a_mangled_rest_object_is_understood_or_not_and_nothing_worse(kind, obj):
    try:
        told = understand_rest(kind, obj, said_at=HEARD, call_id="ACcall-demo-1")
    except NotUnderstood:
        return

    assert told.said_at.tzinfo is UTC
