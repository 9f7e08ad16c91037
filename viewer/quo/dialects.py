"""Parse the provider's deliveries and REST objects, in every dialect, into our types.

The dialects are told apart by what is there, never by a setting, and read leniently: a field is
looked for under every name it has had. A file that an event announces comes out as a MediaSeen,
or else `urls_in` shows that one was overlooked.

NotUnderstood   keep the event, show it, read it again with newer code
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from viewer.quo import numbers
from viewer.quo.types import (
    CallSeen,
    ContactSeen,
    Direction,
    MediaSeen,
    MessageSeen,
    Nothing,
    NotUnderstood,
    Parties,
    Role,
    Seen,
    TranscriptLine,
)
from viewer.quo.wire import parse_json, read_moment

Json = Mapping[str, Any]

_BEGINNING = datetime(2015, 1, 1, tzinfo=UTC)  # before the provider existed
_AHEAD = timedelta(days=1)  # how far their clock may run before ours
# Characters. Whoever keeps what we say has room for so many.
_LONGEST_ID = 255
_LONGEST_NAME = 255
_LONGEST_STATUS = 40
_LONGEST_TYPE = 100
_LONGEST_DURATION = 7 * 24 * 3600  # seconds
_CONVERSATION = re.compile(r"/c/(CN[A-Za-z0-9]+)(?:[/?#]|$)")
_PHONE_LABEL = re.compile("phone|mobile|cell|tel", re.IGNORECASE)
_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # PostgreSQL takes neither

# Of a recording. With any other word its address is still to come.
_NO_FILE = {"absent", "deleted", "failed"}

# A link somebody typed is no file, nor is a way into the provider's own pages.
_NOT_MEDIA = {
    *("deepLink", "quo", "pictureUrl"),
    *("body", "text", "content", "transcript", "summary", "nextSteps", "jobs", "notes"),
}


def read_json(body: bytes) -> Any:
    """Parse the payload, with texts that both databases can store. Raises NotUnderstood."""
    return _storable(parse_json(body))


def understand(payload: object, *, received_at: datetime) -> Seen:
    """Parse an event. Raises NotUnderstood. `received_at` stands in for a missing time."""
    if not isinstance(payload, dict):
        raise NotUnderstood("the event is not a JSON object")
    kind = kind_of(payload)
    if not kind:
        raise NotUnderstood("the event has no type")
    if kind in _UNINTERESTING or kind.startswith(_UNINTERESTING_FAMILIES):
        return Nothing(kind)
    if kind not in _EVENTS:
        raise NotUnderstood(f"event type not known: {kind[:80]}")
    return _EVENTS[kind](_open(payload, kind, received_at))


def kind_of(payload: object) -> str:
    """The event's type by its canonical name; empty where it has none."""
    kind = (_word(payload, "type", _LONGEST_NAME) if isinstance(payload, dict) else None) or ""
    return _OTHER_NAMES.get(kind, kind)


def understand_rest(
    kind: str, obj: object, *, said_at: datetime, call_id: str | None = None
) -> Seen:
    """Parse an object of the REST API, newer or v1. Raises NotUnderstood.

    `kind` is one of REST_KINDS, `said_at` when it was asked for. `call_id` names the call where
    the object, or list of recordings, does not.
    """
    if kind not in REST_KINDS:
        raise ValueError(f"no such kind of REST object: {kind}")
    if kind == "recording":
        obj = {"recordings": obj}
    if not isinstance(obj, dict):
        raise NotUnderstood(f"the {kind} is not a JSON object")
    named = obj if call_id is None else {**obj, "callId": call_id}
    return _REST[kind](_Said(kind="rest", thing=named, heard_at=said_at))


def urls_in(payload: object) -> list[str]:
    """Every URL in an event that could be a file's, in order.

    URLs from which no media came mean that the provider renamed a field.
    """
    found: dict[str, None] = {}
    waiting = [payload]
    while waiting:
        match waiting.pop():
            case str(text) if _URL.fullmatch(text.strip()):
                found[text.strip()] = None
            case list(items):
                waiting.extend(reversed(items))
            case dict(fields):
                waiting.extend(reversed([v for k, v in fields.items() if k not in _NOT_MEDIA]))
    return list(found)


@dataclass(frozen=True, slots=True)
class _Said:
    """A delivery laid open: the thing it is about and what stands around it."""

    kind: str  # the event's type, or "rest"
    thing: Json
    heard_at: datetime  # by us
    context: Json = field(default_factory=dict)
    link: str = ""  # into the provider's own pages
    event_at: object = None  # the envelope's createdAt

    @property
    def is_rest(self) -> bool:
        return self.kind == "rest"

    @property
    def event_word(self) -> str | None:
        """`received` of `message.received`."""
        return self.kind.partition(".")[2] or None

    def moment(self, name: str) -> datetime | None:
        return self._plausible(self.thing.get(name))

    def said_at(self) -> datetime:
        if moment := self.moment("updatedAt"):
            return moment
        if self.is_rest:
            return self.heard_at  # the state at the moment of asking
        return self._plausible(self.event_at) or self.moment("createdAt") or self.heard_at

    def around(self, *names: str) -> Any:
        """The first of these that the context or else the thing holds."""
        for name in names:
            for place in (self.context, self.thing):
                if place.get(name) not in (None, "", [], {}):
                    return place[name]
        return None

    def id(self, name: str) -> str | None:
        """An id from the context or the thing."""
        return identifier(self.around(name))

    def _plausible(self, value: object) -> datetime | None:
        """None for 1970, the year 9999 and their like, which would outrank every other delivery."""
        moment = read_moment(value)
        if moment is None or not _BEGINNING <= moment <= self.heard_at + _AHEAD:
            return None
        return moment


def _open(payload: Json, kind: str, received_at: datetime) -> _Said:
    data = payload.get("data")
    outer: Json = data if isinstance(data, dict) else payload
    thing = next(
        (
            place[name]
            for place in (outer, payload)
            for name in ("resource", "object")
            if isinstance(place.get(name), dict)
        ),
        None,
    )
    if thing is None:
        raise NotUnderstood("the event has neither a resource nor an object")
    links = _object(outer, "links") or _object(payload, "links")
    return _Said(
        kind=kind,
        thing=thing,
        heard_at=received_at,
        context=_object(outer, "context") or _object(payload, "context"),
        link=_text(outer, "deepLink") or _text(links, "quo") or "",
        event_at=payload.get("createdAt"),
    )


# Messages


def _message(said: _Said) -> MessageSeen:
    direction = _message_direction(said)
    return MessageSeen(
        provider_id=_required(said.thing, "id"),
        parties=_message_parties(said, None if said.is_rest else direction),
        direction=direction,
        said_at=said.said_at(),
        sent_at=said.moment("createdAt"),
        body=_either_text(said.thing, "text", "body"),
        status=_word(said.thing, "status", _LONGEST_STATUS) or said.event_word,
        error_code=_word(said.thing, "errorCode", _LONGEST_STATUS),
        user=_author(said) if direction is Direction.OUTGOING else None,
        media=_media(Role.ATTACHMENT, said.thing.get("media")),
    )


def _message_direction(said: _Said) -> Direction:
    """From the event's type: the field is unreliable between two numbers of the provider's."""
    if not said.is_rest:
        return Direction.INCOMING if said.kind == "message.received" else Direction.OUTGOING
    direction = _direction(said.thing)
    if direction is None:
        raise NotUnderstood("the message has no direction")
    return direction


def _message_parties(said: _Said, certain: Direction | None) -> Parties:
    sender = _first(_numbers(said.around("senderIdentifier", "from")))
    recipients = _numbers(said.around("recipientIdentifiers", "to"))
    return _parties(said, sender, recipients, _ours(certain, sender, recipients))


def _author(said: _Said) -> str | None:
    return _id(said.thing, "createdBy") or said.id("userId")


# Calls


def _call(said: _Said) -> CallSeen:
    thing = said.thing
    direction = _direction(thing)
    answered_at, completed_at = said.moment("answeredAt"), said.moment("completedAt")
    voicemails = _media(Role.VOICEMAIL, thing.get("voicemail"))
    # Recordings before media: where both name a file, recordings know its id.
    recordings = _media(Role.RECORDING, thing.get("recordings"), thing.get("media"))
    about = _object(thing, "summary") or thing  # REST includes the whole summary
    return CallSeen(
        provider_id=_id(thing, "callId") or _required(thing, "id"),
        parties=_call_parties(said, direction),
        said_at=said.said_at(),
        direction=direction,
        sent_at=said.moment("createdAt"),
        answered_at=answered_at,
        completed_at=completed_at,
        duration_seconds=_call_duration(thing, answered_at, completed_at),
        status=_word(thing, "status", _LONGEST_STATUS),
        user=_id(thing, "answeredBy") or _id(thing, "initiatedBy") or said.id("userId"),
        has_voicemail=True if voicemails else _flag(thing, "hasVoicemail"),
        voicemail_transcript=_text(_object(thing, "voicemail"), "transcript"),
        media=_distinct(voicemails + recordings),
        summary=_lines(about, "summary"),
        next_steps=_lines(about, "nextSteps"),
    )


def _missed_call(said: _Said) -> CallSeen:
    """Says little more than that; only incoming calls are missed."""
    seen = _call(replace(said, thing={**said.thing, "direction": "incoming"}))
    return replace(seen, status=seen.status or "missed")


def _voicemail(said: _Said) -> CallSeen:
    """The times and the length of a voicemail are its own, not the call's."""
    thing = said.thing
    call_id = _id(thing, "callId")
    if call_id is None and said.is_rest:
        raise NotUnderstood("the voicemail names no call")
    direction = _direction(thing) or Direction.INCOMING
    return CallSeen(
        provider_id=call_id or _required(thing, "id"),
        parties=_call_parties(said, direction),
        said_at=said.said_at(),
        direction=direction,
        sent_at=None if call_id else said.moment("createdAt"),
        has_voicemail=True,
        voicemail_transcript=_text(thing, "transcript"),
        media=_voicemail_files(said),
    )


def _voicemail_files(said: _Said) -> tuple[MediaSeen, ...]:
    # In an event `id` is an activity's, of a REST object it is the voicemail's own.
    name = "id" if said.is_rest else "voicemailId"
    itself = MediaSeen(
        Role.VOICEMAIL,
        url=_url(said.thing),
        declared_type=_type(said.thing),
        duration_seconds=_seconds(said.thing.get("duration")),
        provider_id=_id(said.thing, name),
    )
    others = _media(Role.VOICEMAIL, said.thing.get("recordings"), said.thing.get("media"))
    return _distinct((itself, *others)) if itself.url or not others else others


def _recordings(said: _Said) -> CallSeen:
    return CallSeen(
        provider_id=_required(said.thing, "callId"),
        parties=Parties(),
        said_at=said.said_at(),
        media=_media(Role.RECORDING, said.thing.get("recordings")),
    )


def _transcript(said: _Said) -> CallSeen:
    dialogue = said.thing.get("dialogue")
    return CallSeen(
        provider_id=_required(said.thing, "callId"),
        parties=_call_parties(said, None),
        said_at=said.said_at(),
        transcript=tuple(_spoken(dialogue) if isinstance(dialogue, list) else ()),
    )


def _spoken(dialogue: list[Any]) -> Iterator[TranscriptLine]:
    for line in dialogue:
        if isinstance(line, dict) and (text := _text(line, "content")):
            yield TranscriptLine(
                text=text,
                start=_seconds(line.get("start")),
                end=_seconds(line.get("end")),
                number=_first(_numbers(line.get("identifier"))),
                user=_id(line, "userId"),
            )


def _summary(said: _Said) -> CallSeen:
    return CallSeen(
        provider_id=_required(said.thing, "callId"),
        parties=_call_parties(said, None),
        said_at=said.said_at(),
        summary=_lines(said.thing, "summary"),
        next_steps=_lines(said.thing, "nextSteps"),
    )


def _call_parties(said: _Said, direction: Direction | None) -> Parties:
    sender = _first(_numbers(said.thing.get("from")))
    recipients = _numbers(said.thing.get("to"))
    participants = said.around("participants")
    if not isinstance(participants, dict):
        # A bare list does not tell which of them is ours, and neither does the direction: between
        # two numbers of the provider's it is unreliable, and no event's type says it of a call.
        return _parties(said, sender, (*recipients, *_numbers(participants)), ())

    ours = _numbers(participants.get("workspace"))
    theirs = _numbers(participants.get("external"))
    callers = {Direction.INCOMING: theirs, Direction.OUTGOING: ours, None: ()}[direction]
    if sender is None and len(callers) == 1:
        sender = callers[0]
    return _parties(said, sender, (*recipients, *theirs, *ours), ours)


def _call_duration(
    thing: Json, answered_at: datetime | None, completed_at: datetime | None
) -> float | None:
    duration = _seconds(thing.get("duration"))
    if duration is None and answered_at and completed_at:
        return _seconds((completed_at - answered_at).total_seconds())
    return duration


def _lines(thing: Json, name: str) -> tuple[str, ...]:
    """Texts of a field that is sometimes a list, sometimes one text."""
    value = thing.get(name)
    items = value if isinstance(value, list) else [value]
    return tuple(line for item in items if (line := _as_text(item)) and line.strip())


# Contacts


def _contact(said: _Said) -> ContactSeen:
    thing = said.thing
    person = {**thing, **_object(thing, "defaultFields")}  # where the older REST surface has them
    return ContactSeen(
        provider_id=_required(thing, "id"),
        said_at=said.said_at(),
        first_name=_word(person, "firstName", _LONGEST_NAME),
        last_name=_word(person, "lastName", _LONGEST_NAME),
        company=_word(person, "company", _LONGEST_NAME),
        role=_word(person, "role", _LONGEST_NAME),
        numbers=_contact_numbers(person),
        deleted=said.kind == "contact.deleted",
    )


def _contact_numbers(person: Json) -> tuple[str, ...] | None:
    listed, fields = person.get("phoneNumbers"), person.get("fields")
    if not isinstance(listed, list) and not isinstance(fields, dict | list):
        return None
    found = dict.fromkeys((*_numbers(listed), *_numbers_in_fields(fields)))
    return tuple(number for number in found if not number.startswith("unknown-"))


def _numbers_in_fields(fields: object) -> Iterator[str]:
    """Labels are chosen by people, so a number is told by its label or by its plus."""
    for label, value in _labelled(fields):
        for text in value if isinstance(value, list) else [value]:
            number = numbers.canonical(text)
            is_meant = _PHONE_LABEL.search(label) or (
                isinstance(text, str) and text.lstrip().startswith("+")
            )
            if is_meant and numbers.is_number(number):
                yield number


def _labelled(fields: object) -> Iterator[tuple[str, Any]]:
    """`{label: value}`, or the older `[{name, type, value}]`."""
    if isinstance(fields, dict):
        yield from fields.items()
    elif isinstance(fields, list):
        for field in fields:
            if isinstance(field, dict):
                yield f"{field.get('name')} {field.get('type')}", field.get("value")


# Parties


def _parties(
    said: _Said, sender: str | None, others: Iterable[str], ours: tuple[str, ...]
) -> Parties:
    everybody = dict.fromkeys(number for number in (sender, *others) if number)
    return Parties(
        conversation=_conversation(said),
        line=said.id("phoneNumberId"),
        sender=sender,
        numbers=tuple(everybody),
        ours=ours,
    )


def _ours(
    direction: Direction | None, sender: str | None, recipients: tuple[str, ...]
) -> tuple[str, ...]:
    """Only what is certain: in a group, any of the recipients may be us."""
    if direction is Direction.OUTGOING and sender:
        return (sender,)
    if direction is Direction.INCOMING and len(recipients) == 1:
        return recipients
    return ()


def _conversation(said: _Said) -> str | None:
    if conversation := said.id("conversationId"):
        return conversation
    match = _CONVERSATION.search(said.link)
    return identifier(match[1]) if match else None


def _numbers(value: object) -> tuple[str, ...]:
    """Everybody in a number, a comma-joined text of them, or a list of either or of objects."""
    found = (numbers.canonical(text) for text in _number_texts(value))
    return tuple(dict.fromkeys(found))


def _number_texts(value: object) -> Iterator[str]:
    match value:
        case str(text):
            yield from (part for part in text.split(",") if part.strip())
        case list(items):
            for item in items:
                yield from _number_texts(item)
        case dict(fields):
            for name in ("phoneNumber", "number", "value"):
                if isinstance(number := fields.get(name), str):
                    yield from _number_texts(number)
                    break


# Media


def _media(role: Role, *values: object) -> tuple[MediaSeen, ...]:
    return _distinct(media for value in values for media in _announced(role, value))


def _announced(role: Role, value: object) -> Iterator[MediaSeen]:
    """The files in null, an address, an object, or a list of any of these."""
    match value:
        case list(items):
            for item in items:
                yield from _announced(role, item)
        case str(text) if text.strip():
            yield MediaSeen(role, _as_text(text.strip()))
        case dict(fields):
            media = MediaSeen(
                role,
                url=_url(fields),
                declared_type=_type(fields),
                duration_seconds=_seconds(fields.get("duration")),
                provider_id=_id(fields, "id"),
            )
            if media != MediaSeen(role, None) and (media.url or not _is_nothing(fields)):
                yield media


def _is_nothing(fields: Json) -> bool:
    """Whether there is no file, and never will be: nobody need wait for its address."""
    return (_word(fields, "status", _LONGEST_STATUS) or "").lower() in _NO_FILE


def _url(fields: Json) -> str | None:
    addresses = (_text(fields, name) for name in ("url", "recordingUrl"))
    return next((address.strip() for address in addresses if address and address.strip()), None)


def _distinct(media: Iterable[MediaSeen]) -> tuple[MediaSeen, ...]:
    """The same file once; those that nothing tells apart all stay."""
    found: dict[object, MediaSeen] = {}
    for place, item in enumerate(media):
        found.setdefault(item.url or item.provider_id or place, item)
    return tuple(found.values())


# Fields


def _required(thing: Json, name: str) -> str:
    found = _id(thing, name)
    if found is None:
        raise NotUnderstood(f"no usable {name}")
    return found


def _id(thing: Json, name: str) -> str | None:
    return identifier(thing.get(name))


def identifier(value: object) -> str | None:
    """An id of the provider's, of a length that can be kept. Merely cut, two could become one."""
    text = _as_line(value)
    if text is None or len(text) <= _LONGEST_ID:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{text[: _LONGEST_ID - 1 - len(digest)]}~{digest}"


def _word(thing: Json, name: str, longest: int) -> str | None:
    """A state, a name: what is longer is cut, and no photo lost for it."""
    text = _as_line(thing.get(name))
    return text[:longest].rstrip() if text else None


def _type(thing: Json) -> str | None:
    """A MIME type, without the parameters behind it, such as the name of a file."""
    text = (_as_line(thing.get("type")) or "").partition(";")[0]
    return text.strip()[:_LONGEST_TYPE] or None


def _as_line(value: object) -> str | None:
    """Never empty."""
    text = str(value) if type(value) is int and abs(value) < 2**64 else _as_text(value)
    return text.strip() or None if text else None


def _text(thing: Json, name: str) -> str | None:
    return _as_text(thing.get(name))


def _as_text(value: object) -> str | None:
    return _UNSTORABLE.sub("\ufffd", value) if isinstance(value, str) else None


def _either_text(thing: Json, *names: str) -> str | None:
    """The first that is not empty; empty if one says so; None if none speaks."""
    texts = [text for name in names if (text := _text(thing, name)) is not None]
    return next((text for text in texts if text), texts[0] if texts else None)


def _seconds(value: object) -> float | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= _LONGEST_DURATION else None


def _object(thing: Json, name: str) -> Json:
    value = thing.get(name)
    return value if isinstance(value, dict) else {}


def _flag(thing: Json, name: str) -> bool | None:
    value = thing.get(name)
    return value if isinstance(value, bool) else None


def _direction(thing: Json) -> Direction | None:
    match thing.get("direction"):
        case "incoming" | "inbound":
            return Direction.INCOMING
        case "outgoing" | "outbound":
            return Direction.OUTGOING
    return None


def _first(found: tuple[str, ...]) -> str | None:
    return found[0] if found else None


def _storable(value: Any) -> Any:
    """Recursion is safe here: parse_json bounds the depth."""
    match value:
        case str():
            return _as_text(value)
        case list():
            return [_storable(item) for item in value]
        case dict():
            return {_as_text(key): _storable(item) for key, item in value.items()}
    return value


# The guide names these by their object, live deliveries by the event.
_OTHER_NAMES = {
    "callSummary": "call.summary.completed",
    "callTranscript": "call.transcript.completed",
}

_UNINTERESTING = {"call.ringing", "call.menu.selected"}
_UNINTERESTING_FAMILIES = ("task.", "integration.")

_EVENTS: dict[str, Callable[[_Said], Seen]] = {
    "message.received": _message,
    "message.delivered": _message,
    "message.failed": _message,
    "message.undelivered": _message,
    "call.answered": _call,
    "call.completed": _call,
    "call.forwarded": _call,
    "call.missed": _missed_call,
    "call.recording.completed": _call,
    "call.voicemail.completed": _voicemail,
    "call.summary.completed": _summary,
    "call.transcript.completed": _transcript,
    "contact.updated": _contact,
    "contact.deleted": _contact,
}

_REST: dict[str, Callable[[_Said], Seen]] = {
    "message": _message,
    "call": _call,
    "voicemail": _voicemail,
    "recording": _recordings,
    "transcript": _transcript,
    "summary": _summary,
    "contact": _contact,
}
REST_KINDS = frozenset(_REST)
