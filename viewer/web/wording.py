"""Template filters that describe messages, calls and files in words."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

from flask import Flask

from viewer import derive
from viewer.extensions import now
from viewer.models import MediaAttachment, Message, WorkRecord
from viewer.models.media import LONGEST_CAPTION, LONGEST_REASON
from viewer.office.filing import name_of
from viewer.plurals import counted, plural
from viewer.web.formatting import age, duration

State, MediaType, Role = MediaAttachment.State, MediaAttachment.MediaType, MediaAttachment.Role
Availability = MediaAttachment.Availability

# The state of a file in words: the same on every page.
AVAILABILITY = {
    Availability.ON_ITS_WAY: "On its way",
    Availability.HERE: "Here",
    Availability.INCOMPLETE: "Here, but incomplete",
    Availability.NOT_AVAILABLE: "Not available at the provider",
    Availability.NOT_DOWNLOADED: "Not downloaded",
    Availability.NOT_THE_FILE: "Not the file",
    Availability.DOUBTFUL: "Perhaps not the file",
    Availability.DAMAGED: "Original damaged",
    Availability.CAME_ANOTHER_WAY: "Came another way",
    Availability.GIVEN_UP: "Given up",
    Availability.IN_TRASH: "In the trash",
}
# In a receipt, after what it is: "Photo here, but incomplete"; "1 here, but incomplete".
_OF_SEVERAL = {
    Availability.ON_ITS_WAY: "on their way",
    Availability.NOT_THE_FILE: "not the files",
    Availability.DOUBTFUL: "perhaps not the files",
    Availability.DAMAGED: "originals damaged",
}
_IN_RECEIPT = {key: words[0].lower() + words[1:] for key, words in AVAILABILITY.items()}

_ONE = {
    MediaType.PHOTO: "photo",
    MediaType.VIDEO: "video",
    MediaType.AUDIO: "recording",
    MediaType.DOCUMENT: "file",
}
_DOCUMENTS = {
    "pdf": "PDF file", "zip": "ZIP archive", "txt": "Text file", "html": "Web page",
    "vcf": "Contact card", "ics": "Calendar entry", "svg": "SVG drawing", "xml": "XML file",
    "json": "JSON file", "xhtml": "Web page", "smil": "Layout of a message", "csv": "CSV table",
    "tsv": "Table", "md": "Text file", "rtf": "Rich text file", "eml": "E-mail", "msg": "E-mail",
    "gpx": "GPX track", "kml": "Map places", "kmz": "Map places", "epub": "E-book",
    "imy": "Ring tone", "pages": "Pages file", "numbers": "Numbers file", "key": "Keynote file",
    "pkpass": "Wallet pass", "odt": "OpenDocument text", "ott": "OpenDocument text template",
    "ods": "OpenDocument spreadsheet", "ots": "OpenDocument spreadsheet template",
    "odp": "OpenDocument presentation", "odg": "OpenDocument drawing",
    **dict.fromkeys(("doc", "docx", "docm"), "Word file"),
    **dict.fromkeys(("dotx", "dotm"), "Word template"),
    **dict.fromkeys(("xls", "xlsx", "xlsm", "xlsb"), "Excel file"),
    **dict.fromkeys(("xltx", "xltm"), "Excel template"),
    **dict.fromkeys(("ppt", "pptx", "pptm", "ppsx", "ppsm"), "PowerPoint file"),
    **dict.fromkeys(("potx", "potm"), "PowerPoint template"),
    **dict.fromkeys(
        ("dng", "cr2", "cr3", "nef", "arw", "pef", "srw", "orf", "rw2", "raf"), "Camera raw file"
    ),
}  # fmt: skip
# The provider names files by hash, phones by UUID: neither name means anything to people.
_NUMBER_OF_A_FILE = re.compile(r"[0-9a-f]{16,}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.I)
_FAILED = {"failed": "Not sent", "undelivered": "Not delivered"}
_SENT = {"delivered": "Delivered", "read": "Read", "sent": "Sent", "queued": "Sending…",
         "sending": "Sending…", "scheduled": "Scheduled", "canceled": "Canceled",
         "partially_delivered": "Delivered to some"}  # fmt: skip
SMALLEST = 44  # CSS pixels that a finger hits
_IN_SHORT = 160  # characters of a text shown in the inbox


@dataclass(frozen=True, slots=True)
class Receipt:
    """How many of a message's files are stored: the text, and its style."""

    words: str
    look: str  # here, waiting, attention, settled


def init_app(app: Flask) -> None:
    for show in (what, kind, named, availability, explanation, delivery, has_failed, call_title,
                 plays, is_tile, columns, brings, fitted, is_strip, used_in,
                 picture_to_open):  # fmt: skip
        app.add_template_filter(show, show.__name__)
    app.jinja_env.globals["longest_caption"] = LONGEST_CAPTION
    app.jinja_env.globals["longest_reason"] = LONGEST_REASON


def what(media: MediaAttachment) -> str:
    return what_is(media.role, media.media_type)


def what_is(role: MediaAttachment.Role, media_type: MediaAttachment.MediaType) -> str:
    """photo, video, voicemail, call recording, file"""
    if role is Role.VOICEMAIL:
        return "voicemail"
    if role is Role.RECORDING:
        return "call recording"
    return _ONE[media_type]


def availability(media: MediaAttachment) -> str:
    return AVAILABILITY[media.availability]


def explanation(media: MediaAttachment) -> str:
    return explain(media.availability, media.problem, media.copy_problem)


def explain(
    availability: MediaAttachment.Availability, problem: str | None, copy_problem: str | None
) -> str:
    """Say why a file is not simply here; empty if it is, or on its way without trouble."""
    if availability is Availability.HERE:
        return copy_problem or ""
    if availability is Availability.INCOMPLETE:
        return " ".join(filter(None, (copy_problem, problem)))
    return problem or ""


def kind(media: MediaAttachment) -> str:
    return file_kind(media.role, media.media_type, media.mime_type)


def file_kind(
    role: MediaAttachment.Role, media_type: MediaAttachment.MediaType, mime_type: str | None
) -> str:
    """PDF file, HEIC photo, AMR voicemail; "File" or "Voicemail" for an unknown type."""
    extension = derive.KINDS[mime_type].extension if mime_type else ""
    if media_type is MediaType.DOCUMENT and role is not Role.ATTACHMENT:
        return what_is(role, media_type).capitalize()
    if media_type is MediaType.DOCUMENT:
        return _DOCUMENTS.get(extension, "File")
    return f"{extension.upper()} {what_is(role, media_type)}".strip()


def named(media: MediaAttachment) -> str | None:
    return given_name(media.file_name)


def given_name(file_name: str | None) -> str | None:
    """Return the file name given at the source; None if it is only a hash or a UUID."""
    name = file_name or ""
    return None if _NUMBER_OF_A_FILE.fullmatch(PurePosixPath(name).stem) else name or None


def shown_files(message: Message) -> list[MediaAttachment]:
    """Return the files of a message in the order sent, without those in the trash.

    Nor duplicates, nor what a carrier added to it.
    """
    return [
        media
        for media in message.media
        if media.state not in (State.TRASHED, State.DUPLICATE) and not media.is_carrier_part
    ]


def used_in(files: Iterable[MediaAttachment]) -> list[tuple[WorkRecord, str]]:
    """Return the work records that these files are linked to, each with its name."""
    records = {link.record.id: link.record for media in files for link in media.links}
    return [(one, name_of(one)) for one in sorted(records.values(), key=lambda r: r.created_at)]


def is_tile(media: MediaAttachment) -> bool:
    """Whether the file is a tile of the grid; all but photos, and what did not come, get a row."""
    if media.is_stored or media.is_damaged:
        is_coming = media.copy_state is MediaAttachment.CopyState.DUE
        return media.media_type is MediaType.PHOTO and (media.has_thumbnail or is_coming)
    return media.is_on_its_way


def columns(media: Sequence[MediaAttachment]) -> int:
    """Number of grid columns, at most 3; four tiles make a square of 2."""
    tiles = sum(map(is_tile, media))
    return 2 if tiles == 4 else min(max(tiles, 1), 3)


def fitted(media: MediaAttachment, across: int = 480, high: int = 384) -> tuple[int, int]:
    """Width and height of a single photo in CSS pixels: space is reserved, so no layout shift.

    Of a strip that of its middle, as its thumbnail is, and never too small for a thumb.
    """
    width, height = media.width or across, media.height or high
    if crop := derive.thumbnail_crop(width, height):
        width, height = crop[2] - crop[0], crop[3] - crop[1]
    scale = min(across / width, high / height, 1)
    return max(SMALLEST, round(width * scale)), max(SMALLEST, round(height * scale))


def is_strip(media: MediaAttachment) -> bool:
    """Whether the picture is so long or so wide that on a screen it would be a line."""
    return derive.thumbnail_crop(media.width or 1, media.height or 1) is not None


def picture_to_open(media: MediaAttachment) -> str:
    return picture_behind(media.state, media.preview_path)


def picture_behind(state: MediaAttachment.State, preview_path: str | None) -> str:
    """Return the endpoint of the picture behind a thumbnail: never a damaged original."""
    if preview_path:
        return "media.files.preview"
    return "media.files.thumbnail" if state is State.DAMAGED else "media.files.original"


def plays(media: MediaAttachment) -> bool:
    return can_play(media.playable_path, media.mime_type, media.copy_state)


def can_play(
    playable_path: str | None, mime_type: str | None, copy_state: MediaAttachment.CopyState
) -> bool:
    """Whether a browser can play the playable copy or, as far as we know yet, the file itself."""
    if playable_path is not None:
        return True
    is_known_not_to = copy_state is MediaAttachment.CopyState.IMPOSSIBLE
    return derive.KINDS[mime_type or ""].browser_plays and not is_known_not_to


def in_short(message: Message) -> str:
    """Summarize the message in one line for the inbox."""
    if message.is_call:
        words = call_title(message)
        said = message.voicemail_transcript or next(iter(message.summary or []), "")
        return _cut(f"{words}: {said}" if said else words)
    words = (
        (message.body or "").strip()
        or ", ".join(counted_by_kind(shown_files(message)))
        or "Empty message"
    )
    return text_in_short(words, is_incoming=message.is_incoming)


def text_in_short(words: str, *, is_incoming: bool) -> str:
    """Summarize a text that says this, in one line for the inbox."""
    return _cut(words if is_incoming else f"You: {words}")


def brings(message: Message) -> str:
    """Kinds of new content in an incoming message, space-separated; empty for our own messages."""
    if not message.is_incoming:
        return ""
    if message.is_call:
        return "voicemail" if call_title(message) == "Voicemail" else "call"
    kinds = [what(one) for one in shown_files(message)]
    return " ".join(kinds) if kinds and set(kinds) == {"photo"} else "message"


def _cut(words: str) -> str:
    return words if len(words) <= _IN_SHORT else f"{words[:_IN_SHORT]}…"


def counted_by_kind(media: Iterable[MediaAttachment]) -> list[str]:
    """Count files by kind: "2 photos", "1 voicemail"."""
    kinds = Counter(what(one) for one in media)
    return [counted(count, kind) for kind, count in kinds.items()]


def has_failed(message: Message) -> bool:
    return message.status in _FAILED


def delivery(message: Message) -> str:
    """Delivery status of a text we sent; empty for those we received."""
    status = message.status or ""
    if status in _FAILED:
        code = f" (error {message.error_code})" if message.error_code else ""
        return _FAILED[status] + code
    return "" if message.is_incoming else _SENT.get(status, "")


def call_title(message: Message) -> str:
    voicemail = message.has_voicemail or any(m.role is Role.VOICEMAIL for m in message.media)
    if message.is_missed or (voicemail and not message.answered_at):
        return "Voicemail" if voicemail else "Missed call"
    if message.answered_at is None and message.completed_at is None:
        return "Call"
    if message.answered_at is None:
        return "No answer"
    words = "Call" if message.is_incoming else "Outgoing call"
    return f"{words}, {duration(message.seconds)}" if message.seconds else words


def receipt(media: Sequence[MediaAttachment]) -> Receipt | None:
    """3 of 3 photos here; or: 1 of 3 photos here; 1 on its way since 14 min; 1 not the file."""
    if not media:
        return None
    found = Counter(one.availability for one in media)
    word = what(media[0]) if len({what(one) for one in media}) == 1 else "file"
    waiting = [one.created_at for one in media if one.is_on_its_way]
    if len(media) == 1:
        [only] = found
        since = _since(min(waiting)) if waiting else ""
        return Receipt(f"{word} {_IN_RECEIPT[only]}{since}".capitalize(), _look(media))
    here = found.pop(Availability.HERE, 0)
    parts = [f"{here} of {len(media)} {plural(len(media), word)} here"]
    for one in AVAILABILITY:
        if count := found[one]:
            words = _OF_SEVERAL.get(one, _IN_RECEIPT[one]) if count > 1 else _IN_RECEIPT[one]
            since = _since(min(waiting)) if one is Availability.ON_ITS_WAY else ""
            parts.append(f"{count} {words}{since}")
    return Receipt("; ".join(parts), _look(media))


def _look(media: Sequence[MediaAttachment]) -> str:
    if any(one.needs_attention for one in media):
        return "attention"
    if any(one.is_on_its_way for one in media):
        return "waiting"
    return "here" if all(one.availability is Availability.HERE for one in media) else "settled"


def _since(moment: datetime) -> str:
    minutes = int((now() - moment).total_seconds() // 60)
    if minutes < 1:
        return ""
    return f" since {minutes} min" if minutes < 120 else f" for {age(moment)}"
