"""One business day as several dialects tell it, and all that is known at its end."""

import copy
import json
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import sqlalchemy as sa

from tests.payloads import Message as Text
from tests.payloads import load as load_sample
from viewer.extensions import db
from viewer.models import (
    Contact,
    Conversation,
    ConversationAlias,
    MediaAttachment,
    Message,
    PhoneLine,
    SearchEntry,
    Unread,
)

OURS, OTHER_LINE = "+16175550100", "+16175550101"
PAT, SAM, KIM = "+16175550123", "+16175550145", "+16175550146"
RECEIVED = datetime(2026, 9, 22, 8, tzinfo=UTC)


def load(name: str) -> dict[str, Any]:
    """A sample, on the one line of this story."""
    found: dict[str, Any] = json.loads(json.dumps(load_sample(name)).replace("PNdemo1", "PNtest"))
    return found


def changed(payload: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A sample with other fields: of the thing itself, or of `context`, `event`, `data`."""
    payload = copy.deepcopy(payload)
    payload.update(fields.pop("event", {}))
    payload["data"].update(fields.pop("data", {}))
    payload["data"].get("context", {}).update(fields.pop("context", {}))
    (payload["data"].get("resource") or payload["data"]["object"]).update(fields)
    return payload


def text(dialect: str, number: int = 1, **words: Any) -> dict[str, Any]:
    return Text(number=number, **words).payload(dialect)


PHOTO = "https://storage.googleapis.com/opstatics/0123456789abcdef0123456789abcde"
TOKEN = "https://files.example.com/download?token="
CALL = "ACcall-demo-12"
GROUP = load("d1_message_group_photo")
OUTGOING = load("d3_message_undelivered")

# One business day as several dialects tell it. Customers' conversations have the provider's ids in
# some deliveries and none in others; nobody has told us our own number.
STORY: list[dict[str, Any]] = [
    # One text in three dialects; signatures differ, and a type is sometimes missing.
    text("d1", media=[f"{PHOTO}1", {"url": f"{PHOTO}2", "type": "image/png"}]),
    text("d2", media=[{"url": f"{PHOTO}1?X-Goog-Signature=ab&X-Goog-Expires=9"}]),
    text("d3", media=[f"{PHOTO}2?Expires=7", f"{PHOTO}1", None, f"{PHOTO}1"]),
    # Addresses that differ in nothing but a token, in three tellings with fresh ones, and alone.
    text("d1", 6, media=[f"{TOKEN}aaa", f"{TOKEN}bbb"]),
    text("d3", 6, media=[f"{TOKEN}ccc", f"{TOKEN}ddd"]),
    text("d2", 6, media=[f"{TOKEN}aaa", f"{TOKEN}ddd"]),
    text("d3", 6, media=[f"{TOKEN}bbb"]),
    # The same people, without a conversation's id, and under another one.
    text("d3", 2, conversation=None, media=[f"{PHOTO}3"]),
    text("d1", 3, conversation="CNtest2"),
    # A line nobody names; a group of which one delivery names a single member.
    changed(text("d3", 4, conversation=None), context={"phoneNumberId": None}),
    GROUP,
    changed(GROUP, to=OURS, id="ACmsg-demo-9"),
    changed(OUTGOING, id="ACmsg-demo-9", context={"conversationId": "CNdemo2",
                                                 "recipientIdentifiers": [SAM]}),
    # Its life out of order.
    OUTGOING,
    changed(OUTGOING, status="delivered", errorCode=None, event={"type": "message.delivered"}),
    changed(OUTGOING, status="failed", errorCode="30003",
            event={"type": "message.failed", "createdAt": "2026-09-21T14:31:00.000Z"}),
    # A call and its aftermath; which of the participants is ours, nobody says.
    load("d2_call_recording"),
    load("d2_call_summary"),
    load("d2_call_transcript"),
    changed(load("d1_call_recording"), id=CALL, media=[
        {"url": "https://storage.googleapis.com/opstatics/demo00000000000000000000000000c2.mp3"}]),
    changed(load("d3_call_recordings"), id=CALL, recordings=[
        {"id": "CRdemo3", "url": None},
        {"id": "CRdemo1", "url": "https://recordings.example.com/c2.mp3?Signature=x"},
        {"id": "CRdemo1", "url": None}]),
    changed(load("d3_call_recordings"), id=CALL, recordings=[
        {"id": "CRdemo3", "duration": 4, "url": "https://recordings.example.com/c3.mp3"}]),
    # A missed call with its voicemail, announced before it had an address.
    load("d3_call_missed"),
    changed(load("d3_call_voicemail"), voicemailId=None, recordingUrl=None, duration=None),
    load("d3_call_voicemail"),
    changed(load("d1_call_missed_voicemail"), id="ACcall-demo-21"),
    # A transcript of a call that nothing else is known of.
    changed(load("d2_call_transcript"), callId="ACcall-demo-99"),
    # Two lines of ours talk with each other.
    changed(text("d1", 5, sender=OTHER_LINE, conversation=None),
            to=OURS, direction="outgoing") | {"type": "message.delivered"},
    # People.
    load("d1_contact_updated"),
    changed(load("d3_contact_updated"), firstName="Patricia", updatedAt="2026-09-22T07:00:00.000Z"),
    load("d1_contact_deleted"),
]  # fmt: skip


def rows() -> dict[str, list[Any]]:
    """All that is known, but for what may depend on the order: our ids, our clock, suffixes."""
    db.session.flush()
    db.session.expire_all()
    names: dict[Any, list[str]] = {}
    for alias in db.session.scalars(sa.select(ConversationAlias)):
        if alias.provider_id.startswith("CN"):
            names.setdefault(alias.conversation_id, []).append(alias.provider_id)
    return {
        "lines": sorted(
            (line.number, line.provider_id or "")
            for line in db.session.scalars(sa.select(PhoneLine))
        ),
        "conversations": sorted(
            (
                row.participants,
                row.line or "",
                sorted(names.get(row.id, ())),
                row.latest_at,
                sorted(message.provider_id for message in row.messages),
            )
            for row in db.session.scalars(sa.select(Conversation))
        ),
        "messages": sorted(
            (fields(row) for row in db.session.scalars(sa.select(Message))),
            key=lambda row: row["provider_id"],
        ),
        "media": sorted(
            (
                fields(row)
                | {
                    "message": row.message.provider_id,
                    "is_together": row.conversation_id == row.message.conversation_id,
                    "place": PurePosixPath(row.file_path).parent,
                    "extension": PurePosixPath(row.file_path).suffix,
                }
                for row in db.session.scalars(sa.select(MediaAttachment))
            ),
            key=lambda row: (row["message"], row["source_key"]),
        ),
        "contacts": sorted(
            (*fields(row).items(), [number.number for number in row.numbers])
            for row in db.session.scalars(sa.select(Contact))
        ),
    }


def fields(row: Any) -> dict[str, Any]:
    ours = {"id", "conversation_id", "message_id", "created_at", "file_path", "file_stem"}
    clocks = {"next_attempt_at"}
    return {
        name: getattr(row, name)
        for name in sa.inspect(type(row)).column_attrs.keys()  # noqa: SIM118 - no dict
        if name not in ours | clocks
    }


def derived_rows() -> dict[str, list[Any]]:
    """What follows from the rows: what a search finds of each, and what is unread since when."""
    found = {
        "words": [
            (entry.words, entry.message and entry.message.provider_id)
            for entry in db.session.scalars(sa.select(SearchEntry))
        ],
        "unread": [
            (str(row.user_id), row.since, conversation.participants, conversation.line or "")
            for row, conversation in db.session.execute(
                sa.select(Unread, Conversation).join(
                    Conversation, Unread.conversation_id == Conversation.id
                )
            )
        ],
    }
    return {name: sorted(values, key=str) for name, values in found.items()}
