"""The rows of a message's files: which file of a delivery is which row, and what each is called.

Nothing here flushes unless it runs `alone`, so that a delivery is written at once.
"""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from viewer import quo
from viewer.extensions import db, now
from viewer.intake import file_matching, naming
from viewer.intake.phone_lines import OwnLines
from viewer.models import MediaAttachment, Message
from viewer.transactions import NotAlone

State = MediaAttachment.State

_SPARE = 3  # names that are asked for at once, beyond those that are needed


@dataclass(frozen=True, slots=True)
class Known:
    """A message row with its files."""

    message: Message
    media: list[MediaAttachment]


def select_files() -> sa.Select[MediaAttachment]:
    """Select media rows FOR UPDATE: one that is being claimed keeps its name."""
    return (
        sa.select(MediaAttachment)
        .order_by(MediaAttachment.created_at, MediaAttachment.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def take(
    message: Message,
    known: list[MediaAttachment],
    media: tuple[quo.MediaSeen, ...],
    said_at: datetime,
    lines: OwnLines,
    *,
    alone: bool,
) -> list[MediaAttachment]:
    """Upsert the files of one delivery. Returns all rows of the message, old and new."""
    rows = list(known)
    _assign(message, rows, media, said_at)
    _drop_announced_voicemail(rows)
    if dropped := [row for row in known if row not in rows]:
        if not alone:
            raise NotAlone  # it must be gone before another row takes its key
        for row in dropped:
            db.session.delete(row)
        db.session.flush()
    file_matching.set_source_keys(rows)
    name(rows, message, lines)
    for row in rows:
        row.sent_at = message.sent_at
        # A customer's files wait in the tray. `linked_at` follows from the row's links.
        row.is_unfiled = row.waits_in_tray(
            is_incoming=message.is_incoming, is_linked=row.linked_at is not None
        )
        db.session.add(row)
    return rows


def is_to_collect(row: MediaAttachment) -> bool:
    return row.state is State.PENDING and bool(row.openphone_url)


def _assign(
    message: Message,
    rows: list[MediaAttachment],
    media: tuple[quo.MediaSeen, ...],
    said_at: datetime,
) -> None:
    """Assign the files of one delivery to rows, certain matches first."""
    told = [*enumerate(zip(media, file_matching.marks(media), strict=True))]
    told.sort(key=lambda one: not any(file_matching.is_exactly(row, one[1][1]) for row in rows))
    taken: list[MediaAttachment] = []
    for position, (item, marks) in told:
        row = _row_of(message, rows, item, file_matching.alike(rows, item, marks, taken), position)
        taken.append(row)
        file_matching.remember(row, marks, rows)
        _take_media(row, item, position, said_at)


def _take_media(
    row: MediaAttachment, item: quo.MediaSeen, position: int, said_at: datetime
) -> None:
    known_address = row.openphone_url
    row.position = min(row.position, position)
    row.merge(
        said_at,
        openphone_url=item.url,
        declared_type=item.declared_type,
        provider_id=item.provider_id,
        # What decoding found is exact; the provider rounds.
        duration_seconds=None if row.is_stored else item.duration_seconds,
    )
    if row.openphone_url == known_address:
        return
    if row.state in (State.PENDING, State.NEEDS_ATTENTION):
        row.next_attempt_at = now()  # a fresh address is tried at once
        if known_address is None:
            row.state, row.problem, row.trouble = State.PENDING, None, None
    elif row.state is State.CLOSED:
        row.reopen(now())  # it may come after all


def _row_of(
    message: Message,
    rows: list[MediaAttachment],
    item: quo.MediaSeen,
    same: list[MediaAttachment],
    position: int,
) -> MediaAttachment:
    """The row of this file.

    Two rows that prove to be one file become one, unless both downloads have begun: bytes stay.
    """
    if not same:
        rows.append(_new_media(message, item, position))
        return rows[-1]
    row, *others = sorted(same, key=lambda row: (row.attempts == 0, row.is_stored))
    for other in others:
        if other.attempts == 0:
            row.merge_from(other)
            row.position = min(row.position, other.position)
            rows.remove(other)
    return row


def _drop_announced_voicemail(rows: list[MediaAttachment]) -> None:
    """Drop the voicemail announced without URL and id once the real one is known."""
    voicemails = [row for row in rows if row.role is MediaAttachment.Role.VOICEMAIL]
    announced = [row for row in voicemails if not row.openphone_url and not row.provider_id]
    if len(announced) < len(voicemails):
        for row in announced:
            rows.remove(row)


def _new_media(message: Message, item: quo.MediaSeen, position: int) -> MediaAttachment:
    return MediaAttachment(
        id=uuid.uuid4(),
        message_id=message.id,
        conversation_id=message.conversation.id,
        role=MediaAttachment.Role(item.role.value),
        source_key="",  # follows from all its rows
        position=position,
        state=State.PENDING,
        next_attempt_at=None,
        problem="The phone provider has not said yet where the file is.",
        said={},
        attempts=0,
    )


# --- Names -----------------------------------------------------------------------------------


def name(rows: Sequence[MediaAttachment], message: Message, lines: OwnLines) -> None:
    """Set the columns derived from all reports of a file. Its first download fixes its name."""
    unnamed: list[tuple[MediaAttachment, str]] = []
    for row in rows:
        if row.attempts:
            continue
        role = quo.Role(row.role.value)
        row.file_name = naming.file_name(row.openphone_url)
        row.media_type = _first_guess(role, row.declared_type)
        own = naming.clean_name(role, row.openphone_url, row.declared_type)
        stem = naming.stem(role, message.sent_at, _customer(message, lines), own)
        has_it = row.file_stem and re.fullmatch(re.escape(stem.lower()) + r"(-\d+)?", row.file_stem)
        if has_it:
            _call(row, row.file_path.rpartition(".")[0])
        else:
            unnamed.append((row, stem))
    for row, stem in zip([row for row, _ in unnamed], _free([stem for _, stem in unnamed]),
                         strict=True):  # fmt: skip
        _call(row, stem)


def _call(row: MediaAttachment, stem: str) -> None:
    role = quo.Role(row.role.value)
    row.file_stem = stem.lower()
    row.file_path = stem + naming.first_extension(role, row.openphone_url, row.declared_type)


def _customer(message: Message, lines: OwnLines) -> str:
    """The number whose folder a message's files go to."""
    if message.sender and message.sender not in lines.numbers:
        return message.sender
    return next(iter(message.conversation.numbers), "") or quo.canonical(None)


def _free(stems: Sequence[str]) -> list[str]:
    """For each the first free name of stem, stem-2, stem-3 …, case-insensitively."""
    found: list[str] = []
    # Asked by name, in one query: a prefix would be looked for in every name there is.
    taken, asked = set[str](), 0
    for stem in stems:
        count = 1
        while True:
            if count > asked:
                few = range(asked + 1, 2 * asked + len(stems) + _SPARE + 1)
                taken |= _taken({_numbered(one, number) for one in stems for number in few})
                asked = few[-1]
            candidate = _numbered(stem, count)
            if candidate.lower() not in taken:
                break
            count += 1
        taken.add(candidate.lower())
        found.append(candidate)
    return found


def _numbered(stem: str, number: int) -> str:
    return stem if number == 1 else f"{stem}-{number}"


def _taken(names: set[str]) -> set[str]:
    column = MediaAttachment.file_stem
    return set(
        db.session.scalars(sa.select(column).where(column.in_({one.lower() for one in names})))
    )


def _first_guess(role: quo.Role, declared_type: str | None) -> MediaAttachment.MediaType:
    if role is not quo.Role.ATTACHMENT:
        return MediaAttachment.MediaType.AUDIO
    family = (declared_type or "image/").partition("/")[0].lower()
    guesses = {
        "image": MediaAttachment.MediaType.PHOTO,
        "video": MediaAttachment.MediaType.VIDEO,
        "audio": MediaAttachment.MediaType.AUDIO,
    }
    return guesses.get(family, MediaAttachment.MediaType.DOCUMENT)
