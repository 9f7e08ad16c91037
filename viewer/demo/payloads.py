"""The provider's webhook payloads, in its three dialects, from plain facts.

D1 and D2 are the legacy system's (`data.object`), D3 is the new one's (`data.resource`). Where
they differ is told in the provider's facts, sections 2 and 7; here each is written as it is seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

Dialect = Literal["D1", "D2", "D3"]
Payload = dict[str, Any]

OUR_NUMBER = "+16175550100"
_LINE, _USER, _ORG = "PNdemo1", "USdemo1", "ORdemo1"
_VERSIONS: dict[Dialect, str] = {"D1": "v3", "D2": "v4", "D3": "2026-03-30"}


@dataclass(frozen=True)
class Thread:
    """A conversation at the provider: its id, and everybody but us."""

    id: str
    dialect: Dialect
    others: tuple[str, ...]
    contact: str | None = None


@dataclass(frozen=True)
class File:
    """One file at an address of the provider's."""

    url: str
    type: str | None = None
    duration: float | None = None

    def announced(self) -> Payload:
        said: Payload = {"url": self.url}
        if self.type is not None:
            said["type"] = self.type
        if self.duration is not None:
            said["duration"] = round(self.duration)
        return said


def stamp(moment: datetime) -> str:
    """A time as the provider writes it: UTC, milliseconds, Z."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def message(
    thread: Thread,
    id: str,
    at: datetime,
    text: str,
    files: Sequence[File] = (),
    *,
    status: str = "received",
) -> Payload:
    """A text, received or sent: `status` is received, delivered, failed or undelivered."""
    incoming = status == "received"
    sender = thread.others[0] if incoming else OUR_NUMBER
    receivers = [OUR_NUMBER, *thread.others[1:]] if incoming else list(thread.others)
    media = [file.announced() for file in files]
    said: Payload = {"id": id, "direction": "incoming" if incoming else "outgoing"}
    if thread.dialect == "D3":
        said |= {"text": text, "media": media, "status": status, "createdAt": stamp(at)}
        if status in ("failed", "undelivered"):
            said["errorCode"] = "30006" if status == "undelivered" else "30008"
        if status == "failed":
            del said["media"]
        context = _context(thread) | {
            "senderIdentifier": sender,
            "recipientIdentifiers": receivers,
        }
        return _new(f"message.{status}", id, at, said, context, thread)
    said |= {
        "object": "message",
        "from": sender,
        "to": ",".join(receivers),
        "body" if thread.dialect == "D1" else "text": text,
        "media": media,
        "status": status,
        "createdAt": stamp(at),
        "userId": _USER,
        "phoneNumberId": _LINE,
    }
    if thread.dialect == "D1":
        said |= {"createdBy": None if incoming else _USER, "conversationId": thread.id}
    else:
        said |= {"contactIds": [thread.contact] if thread.contact else []}
    return _legacy(f"message.{status}", id, at, said, thread)


def missed_call(
    thread: Thread, id: str, at: datetime, *, voicemail: File | None = None, nameless: bool = False
) -> list[Payload]:
    """A call nobody took. D1 tells of its voicemail here; `nameless` leaves out who took part."""
    over = at + timedelta(seconds=24 + (voicemail.duration or 0 if voicemail else 0))
    if thread.dialect == "D3":
        missed: Payload = {"id": id, "createdAt": stamp(at), "updatedAt": stamp(over)}
        completed = missed | {
            "direction": "incoming",
            "status": "unanswered",
            "answeredAt": None,
            "completedAt": stamp(over),
            "duration": None,
            "hasVoicemail": voicemail is not None,
        }
        context = _call_context(thread)
        return [
            _new("call.missed", id, over, missed, context, thread),
            _new("call.completed", id, over, completed, context, thread),
        ]
    call = _legacy_call(thread, id, at, over)
    if thread.dialect == "D1":
        call["voicemail"] = voicemail.announced() if voicemail else None
    else:
        call |= {"status": "no-answer", "duration": round((over - at).total_seconds())}
        if nameless:
            call["participants"] = []
    return [_legacy("call.completed", id, over, call, thread)]


def voicemail(
    thread: Thread, id: str, call_id: str, at: datetime, file: File, transcript: str | None
) -> Payload:
    """The voicemail as an event of its own, which only D3 has."""
    over = at + timedelta(seconds=70)
    said = {
        "id": id,
        "voicemailId": id.replace("ACvm", "VM"),
        "callId": call_id,
        "direction": "incoming",
        "duration": round(file.duration or 0),
        "from": thread.others[0],
        "to": OUR_NUMBER,
        "transcript": transcript,
        "recordingUrl": file.url,
        "createdAt": stamp(at),
        "updatedAt": stamp(over),
    }
    return _new("call.voicemail.completed", id, over, said, _call_context(thread), thread)


@dataclass(frozen=True)
class Spoken:
    """One line of a recorded call, in seconds from its start."""

    ours: bool
    text: str
    start: float
    end: float


def answered_call(
    thread: Thread,
    id: str,
    at: datetime,
    recording: File,
    lines: Sequence[Spoken],
    summary: Sequence[str],
    next_steps: Sequence[str],
) -> list[Payload]:
    """A D3 call with all that comes after it. The recording arrives before the call's own end."""
    seconds = recording.duration or 0
    picked_up = at + timedelta(seconds=7)
    over = picked_up + timedelta(seconds=seconds)
    context = _call_context(thread)
    call: Payload = {
        "id": id,
        "direction": "incoming",
        "createdAt": stamp(at),
        "answeredAt": stamp(picked_up),
        "completedAt": stamp(over),
        "updatedAt": stamp(over),
        "duration": round(seconds),
    }
    segment = {
        "id": id.replace("ACcall", "CR"),
        "duration": round(seconds),
        "startTime": stamp(picked_up),
        "type": recording.type,
        "url": recording.url,
    }
    dialogue = [
        {
            "userId": _USER if line.ours else None,
            "identifier": OUR_NUMBER if line.ours else thread.others[0],
            "content": line.text,
            "start": line.start,
            "end": line.end,
        }
        for line in lines
    ]
    transcript = {
        "callId": id,
        "createdAt": stamp(over + timedelta(minutes=2)),
        "duration": seconds,
        "processingStatus": "completed",
        "dialogue": dialogue,
    }
    told = {
        "callId": id,
        "processingStatus": "completed",
        "summary": list(summary),
        "nextSteps": list(next_steps),
        "fromPhoneNumber": thread.others[0],
        "handledByAiAgent": False,
        "answeredByUserId": _USER,
        "jobs": [],
    }
    ended = call | {"status": "answered", "hasVoicemail": False}
    recorded = call | {"recordings": [segment]}
    minute = timedelta(minutes=1)
    return [
        _new("call.recording.completed", id, over, recorded, context, thread),
        _new("call.completed", id, over + minute / 60, ended, context, thread),
        _new("call.transcript.completed", id, over + 2 * minute, transcript, context, thread),
        _new("call.summary.completed", id, over + 3 * minute, told, context, thread),
    ]


def contact(thread: Thread, at: datetime, first: str, last: str, address: str) -> Payload:
    """The office gave a number its name. D2 has no such event, so its people come as D1."""
    number = thread.others[0]
    since = stamp(at - timedelta(days=1))
    card: Payload = {"id": thread.contact, "firstName": first, "lastName": last}
    if thread.dialect == "D3":
        card |= {
            "company": None,
            "role": None,
            "location": None,
            "source": None,
            "externalId": None,
            "emails": [],
            "phoneNumbers": [{"value": number, "type": "phone-number"}],
            "customFields": [
                {"name": "Address", "key": "address", "type": "address", "value": address}
            ],
            "createdAt": since,
            "updatedAt": stamp(at),
        }
        shared = {"orgId": _ORG, "userId": _USER, "sharedWithIds": [_ORG]}
        return _new("contact.updated", str(thread.contact), at, card, shared, None)
    card |= {
        "object": "contact",
        "clientId": f"client-{thread.contact}",
        "fields": {"Phone": [number], "Address": address},
        "notes": [],
        "sharedWith": [_USER, _ORG],
        "createdAt": since,
        "updatedAt": stamp(at),
        "userId": _USER,
    }
    told_as = Thread(thread.id, "D1", thread.others, thread.contact)
    return _legacy("contact.updated", str(thread.contact), at, card, told_as)


def _legacy_call(thread: Thread, id: str, at: datetime, over: datetime) -> Payload:
    call: Payload = {
        "id": id,
        "object": "call",
        "direction": "incoming",
        "status": "completed",
        "createdAt": stamp(at),
        "answeredAt": None,
        "answeredBy": None,
        "completedAt": stamp(over),
        "userId": _USER,
        "phoneNumberId": _LINE,
    }
    if thread.dialect == "D1":
        return call | {
            "from": thread.others[0],
            "to": OUR_NUMBER,
            "media": [],
            "conversationId": thread.id,
        }
    return call | {
        "participants": [thread.others[0], OUR_NUMBER],
        "updatedAt": stamp(over),
        "initiatedBy": None,
        "forwardedFrom": None,
        "forwardedTo": None,
        "contactIds": [thread.contact] if thread.contact else [],
        "recordings": None,
    }


def _legacy(kind: str, id: str, at: datetime, said: Payload, thread: Thread) -> Payload:
    data: Payload = {"object": said}
    if thread.dialect == "D2":
        data["deepLink"] = f"https://my.quo.com/inbox/{_LINE}/c/{thread.id}?at={id}"
    return {
        "id": f"EV-{kind}-{id}",
        "object": "event",
        "apiVersion": _VERSIONS[thread.dialect],
        "createdAt": stamp(at),
        "type": kind,
        "data": data,
    }


def _new(
    kind: str, id: str, at: datetime, said: Payload, context: Payload, thread: Thread | None
) -> Payload:
    link = f"https://my.quo.com/inbox/{_LINE}/c/{thread.id}" if thread else None
    return {
        "id": f"EV-{kind}-{id}",
        "apiVersion": _VERSIONS["D3"],
        "createdAt": stamp(at),
        "type": kind,
        "data": {"resource": said, "context": context, "links": {"quo": link}},
    }


def _context(thread: Thread) -> Payload:
    known = [thread.contact] if thread.contact else []
    return {
        "orgId": _ORG,
        "phoneNumberId": _LINE,
        "conversationId": thread.id,
        "userId": _USER,
        "contacts": {"ids": known, "lookupStatus": "matched" if known else "none"},
    }


def _call_context(thread: Thread) -> Payload:
    return _context(thread) | {
        "phoneNumberType": "shared",
        "participants": {
            "workspace": [OUR_NUMBER],
            "external": list(thread.others),
            "resolution": "available",
        },
    }
