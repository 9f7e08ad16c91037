"""Odd events that were really sent: each ends as people expect it, through the signed webhook."""

import itertools
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from tests.payloads import load
from tests.support import call_events
from tests.support.pictures import picture
from tests.support.sounds import tone
from viewer.extensions import db
from viewer.models import Conversation, MediaAttachment, Message, WebhookEvent


def only(model):
    return db.session.scalars(sa.select(model)).one()


# --- Hidden callers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sender", "words"),
    [
        ("+266696687", "Anonymous caller"),
        ("+7378742833", "Restricted number"),
        ("+86282452253", "Number unavailable"),
        ("+8656696", "Unknown caller"),
        ("Anonymous", "Anonymous caller"),
        ("RESTRICTED", "Restricted number"),
        ("unavailable", "Number unavailable"),
        ("Private", "Private number"),
        ("Blocked", "Blocked number"),
        ("sip:anonymous@anonymous.invalid", "Anonymous caller"),
    ],
)
def test_a_hidden_caller_is_named_and_never_rung(sender, words, deliver, work, provider, client):
    missed, left = call_events.voicemail(provider.serve(tone(0.5)))
    for event in (missed, left):
        event["data"]["context"]["participants"] = call_events.PEOPLE | {"external": [sender]}
    left["data"]["resource"]["from"] = sender
    for event in (missed, left):
        deliver(event)
    work()

    home = only(Conversation)
    folder = only(MediaAttachment).file_path.split("/")[3]
    pages = [
        client.get(address).text
        for address in (
            "/", f"/conversations/{home.id}", f"/search?q={words.split()[0]}",
            f"/media/{only(MediaAttachment).id}/passport",
        )
    ]  # fmt: skip
    assert [words in page.replace("<mark>", "").replace("</mark>", "") for page in pages] == [
        True
    ] * 4
    assert not any("tel:" in page for page in pages)
    assert sender.startswith(("sip", "+")) or folder == sender.lower()
    assert not sender.startswith("+") or folder == sender[1:]


def test_an_older_call_as_well(deliver, work, provider, client):
    event = load("d1_call_missed_voicemail")
    event["data"]["object"] |= {"from": "+266696687", "voicemail": None}
    deliver(event, scheme="legacy")
    work()

    page = client.get(f"/conversations/{only(Conversation).id}").text
    assert "Anonymous caller" in page
    assert "tel:" not in page


@pytest.mark.parametrize(
    "sender",
    [
        "+16175550150;ext=12",
        "sip:+16175550150@sip.example.com",
        "sips:16175550150@sip.example.com;transport=tls",
        "tel:+1-617-555-0150;ext=12",
        "tel:555-0150;phone-context=+1617",
        '"Pat" <sip:+16175550150@192.0.2.1:5060;user=phone>',
        "+1.617.555.0150",
        "617/555-0150",
        "(617) 555·0150 #12",
        "＋１６１７５５５０１５０",
    ],
)
def test_a_number_in_other_notations_is_that_number(sender, deliver, work, message, client):
    deliver(message(sender=sender, conversation=None).payload())
    deliver(message(sender="+16175550150", conversation=None).payload())
    work()

    home = only(Conversation)
    assert home.participants == "+16175550150"
    assert 'href="tel:+16175550150"' in client.get(f"/conversations/{home.id}").text


# --- Times -----------------------------------------------------------------------------------

NOON = datetime(2025, 1, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    [
        "2025-01-15 12:00:00 UTC", "Wed, 15 Jan 2025 12:00:00 GMT", "2025-01-15t12:00:00z",
        "2025-01-15 12:00:00 z", "2025-01-15T07:00:00 -0500", "Wed, 15 Jan 2025 07:00:00 EST",
        "Wed, 15 Jan 2025 12:00:00 +0000 (UTC)", "15 Jan 2025 12:00 UT",
        "Wednesday, 15-Jan-25 12:00:00 GMT", "Wed Jan 15 12:00:00 2025",
        "Wed Jan 15 2025 07:00:00 GMT-0500 (Eastern Standard Time)",
        "2025-01-15 12:00:00 +0000 UTC", "2025-01-15T12:00:00+00:00Z",
        "1736942400", "1736942400.0", 1736942400, 1736942400000, "1736942400000",
        1736942400000000, "1736942400000000000",
    ],
)  # fmt: skip
def test_a_moment_in_other_notations_is_that_moment(
    written, deliver, work, message, provider, client
):
    payload = message(media=[provider.serve(picture())]).payload()
    payload["data"]["resource"]["createdAt"] = written
    deliver(payload)
    work()

    assert only(Message).sent_at == NOON
    assert only(MediaAttachment).file_path.startswith("2025/01/15/")
    assert "January 15, 2025" in client.get(f"/conversations/{only(Conversation).id}").text


@pytest.mark.parametrize(
    "written",
    ["yesterday", "12:00", "Wed, 35 Jan 2025 12:00:00 GMT", "2025-01-15 12:00:00 XYZ",
     "2025-01-15 12:00:00 EST +0000", "2025-01-15 12:00:00 +99:00", "9" * 20, "-1", "x" * 300],
)  # fmt: skip
def test_what_is_no_moment_is_that_of_its_event(written, deliver, work, message):
    sent = message()
    payload = sent.payload()
    payload["data"]["resource"]["createdAt"] = written
    deliver(payload)
    work()

    assert only(Message).sent_at == sent.sent_at


# --- Messages of one moment ------------------------------------------------------------------


def in_order(client, home: str) -> list[str]:
    """The messages as the conversation shows them, from the first to the last."""
    page = client.get(f"/conversations/{home}").text
    at = {text: page.find(text) for text in (f"Message {letter}." for letter in "ABCDEFGH")}
    return sorted(at, key=at.__getitem__)


def test_messages_of_one_moment_are_in_the_order_in_which_they_came(
    deliver, work, message, provider, client
):
    expected = [f"Message {letter}." for letter in "ABCDEFGH"]
    for words in expected:
        deliver(message(text=words, media=[provider.serve(picture())]).payload())
    work()

    home = only(Conversation).id
    assert in_order(client, home) == expected
    # The lightbox and the gallery go by the same key, from page to page.
    keys = db.session.execute(
        sa.select(Message.body)
        .join(MediaAttachment)
        .order_by(MediaAttachment.sent_at, MediaAttachment.message_id)
    )
    assert list(keys.scalars()) == expected


def test_another_import_keeps_that_order(deliver, work, message, client):
    expected = [f"Message {letter}." for letter in "ABCDEFGH"]
    for words in expected:
        deliver(message(text=words).payload())
    work()
    for table in ("search_entries", "unread", "messages"):
        if table in db.metadata.tables:
            db.session.execute(sa.delete(db.metadata.tables[table]))
    db.session.execute(sa.update(WebhookEvent).values(state=WebhookEvent.State.RECEIVED))
    db.session.commit()
    work()

    assert in_order(client, only(Conversation).id) == expected


def test_an_id_grows_with_the_time_of_arrival():
    moments = [datetime(2026, 9, 21, 14, 0, 0, at, tzinfo=UTC) for at in (0, 1, 999, 1000, 999_999)]
    moments.append(datetime(2026, 9, 21, 14, 0, 1, tzinfo=UTC))

    ids = [Message.new_id(moment) for moment in moments]

    assert ids == sorted(ids)
    assert [one.hex for one in ids] == sorted(one.hex for one in ids)
    assert {(one.version, one.variant) for one in ids} == {(7, "specified in RFC 4122")}
    assert len({Message.new_id(moments[0]) for _ in range(100)}) == 100


# --- A long call -----------------------------------------------------------------------------


def test_the_transcript_of_a_long_call_is_taken(deliver, work, provider, client):
    said = [(float(n), f"Sentence {n} of a long talk about the wall. " * 4) for n in range(8000)]
    recording, transcript = call_events.recorded(provider.serve(tone(0.5)), said)
    for event in (recording, transcript):
        assert deliver(event).status_code == 204
    work()

    message = only(Message)
    assert len(message.transcript) == 8000
    assert len(b"".join(db.session.scalars(sa.select(WebhookEvent.body)))) > 1_600_000
    assert "Sentence 7999" in client.get(f"/conversations/{message.conversation_id}").text


def test_six_in_a_row_at_once_are_one(deliver, work, message, provider):
    sent = message(media=[provider.serve(picture())])
    for dialect, _ in itertools.product(("d1", "d2", "d3"), range(2)):
        deliver(sent.payload(dialect))
    work()

    assert only(MediaAttachment).is_stored
