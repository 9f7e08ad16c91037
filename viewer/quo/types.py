"""What the provider says, in our words, whichever dialect it was said in.

Every value is plain and immutable. `None` and `()` mean "this delivery does not say",
never "there is none": an earlier or later delivery may know.
"""

import enum
from dataclasses import dataclass, field
from datetime import datetime


class Direction(enum.StrEnum):
    INCOMING = "incoming"
    OUTGOING = "outgoing"


class Role(enum.StrEnum):
    """What a file is to its message."""

    ATTACHMENT = "attachment"  # came with a text
    VOICEMAIL = "voicemail"
    RECORDING = "recording"  # one segment of a recorded call


@dataclass(frozen=True, slots=True)
class MediaSeen:
    """One file that a message or call announces."""

    role: Role
    url: str | None  # None: announced, but no address yet
    declared_type: str | None = None  # the provider's MIME type, often missing, sometimes wrong
    duration_seconds: float | None = None
    provider_id: str | None = None  # VM…, CR… where there is one


@dataclass(frozen=True, slots=True)
class Parties:
    """Who spoke with whom, and in which conversation of the provider's."""

    conversation: str | None = None  # CN…; from the object or from the deep link
    line: str | None = None  # PN…, the phone line of ours
    sender: str | None = None  # canonical number (quo.numbers.canonical)
    numbers: tuple[str, ...] = ()  # everybody named, canonical, in the order named, ours included
    ours: tuple[str, ...] = ()  # those of `numbers` that this delivery proves to be ours


@dataclass(frozen=True, slots=True)
class MessageSeen:
    """A text message, at some point of its life."""

    provider_id: str
    parties: Parties
    direction: Direction
    said_at: datetime  # orders several deliveries about one message; UTC
    sent_at: datetime | None = None  # when it was sent or received at the provider; UTC
    body: str | None = None
    status: str | None = None  # the provider's word: received, delivered, undelivered, failed …
    error_code: str | None = None
    user: str | None = None  # US…, the colleague who wrote it
    media: tuple[MediaSeen, ...] = ()


@dataclass(frozen=True, slots=True)
class TranscriptLine:
    text: str
    start: float | None  # seconds from the beginning of the call
    end: float | None
    number: str | None  # canonical number of the speaker
    user: str | None  # US… where a colleague speaks


@dataclass(frozen=True, slots=True)
class CallSeen:
    """A call, or a part of its aftermath: voicemail, recording, transcript, summary."""

    provider_id: str  # of the call, also where the delivery is about its voicemail or transcript
    parties: Parties
    said_at: datetime
    direction: Direction | None = None
    sent_at: datetime | None = None  # when the call began
    answered_at: datetime | None = None
    completed_at: datetime | None = None
    duration_seconds: float | None = None
    status: str | None = None
    user: str | None = None
    has_voicemail: bool | None = None
    voicemail_transcript: str | None = None
    media: tuple[MediaSeen, ...] = ()
    transcript: tuple[TranscriptLine, ...] = ()
    summary: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContactSeen:
    """A person in the provider's address book."""

    provider_id: str
    said_at: datetime
    first_name: str | None = None
    last_name: str | None = None
    company: str | None = None
    role: str | None = None
    numbers: tuple[str, ...] | None = None  # canonical; None: the delivery does not say
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Nothing:
    """Understood, and of no interest to the viewer (tasks, ringing phones, test pings)."""

    kind: str


Seen = MessageSeen | CallSeen | ContactSeen | Nothing


class NotUnderstood(Exception):
    """Genuine, but we cannot read it. Keep it, show it, read it again with newer code."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery whose signature is good."""

    id: str  # the same for a repeat: webhook-id, else the event's id, else a digest of the body
    scheme: str  # "legacy" or "standard"
    sent_at: datetime | None  # when the provider signed it; None where its clock could not be read
    header_names: tuple[str, ...] = field(default=())
