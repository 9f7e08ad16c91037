"""The tiles of a gallery: columns of files, described in words, in groups of a day or a month."""

import functools
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from viewer import quo
from viewer.extensions import db
from viewer.models import Conversation, MediaAttachment, Message
from viewer.models.media import asks_for_attention, availability_of
from viewer.office.names import title_of_numbers
from viewer.web import formatting
from viewer.web.media import slides
from viewer.web.media.gallery_filters import Condition, Narrowing
from viewer.web.urls import url_for
from viewer.web.wording import (
    AVAILABILITY,
    Availability,
    can_play,
    file_kind,
    given_name,
    picture_behind,
    what_is,
)

State, MediaType = MediaAttachment.State, MediaAttachment.MediaType

_PLAYED = (MediaType.AUDIO, MediaType.VIDEO)


class File(NamedTuple):
    """The columns that a tile shows of a file, its message and its conversation."""

    id: uuid.UUID
    conversation_id: uuid.UUID
    message_id: uuid.UUID
    position: int
    sent_at: datetime
    role: MediaAttachment.Role
    state: MediaAttachment.State
    trouble: MediaAttachment.Trouble | None
    accepted_at: datetime | None
    closed_as: MediaAttachment.Closing | None
    media_type: MediaAttachment.MediaType
    file_name: str | None
    file_size: int | None
    mime_type: str | None
    width: int | None
    height: int | None
    duration_seconds: float | None
    copy_state: MediaAttachment.CopyState
    thumbnail_path: str | None
    preview_path: str | None
    playable_path: str | None
    placeholder: str | None
    linked_at: datetime | None
    caption: str | None
    direction: Message.Direction | None
    sender: str | None
    participants: str

    @property
    def numbers(self) -> list[str]:
        return self.participants.split(",") if self.participants else []

    @property
    def is_stored(self) -> bool:
        return self.state is State.STORED

    @property
    def plays(self) -> bool:
        plays = can_play(self.playable_path, self.mime_type, self.copy_state)
        return self.is_stored and plays

    @property
    def is_dead(self) -> bool:
        """Whether it is a sound or film that is known not to play."""
        is_known = self.copy_state is MediaAttachment.CopyState.IMPOSSIBLE
        return is_known and self.media_type in _PLAYED and not self.plays

    @property
    def has_picture(self) -> bool:
        return self.thumbnail_path is not None and (self.is_stored or self.is_damaged)

    @property
    def is_damaged(self) -> bool:
        return self.state is State.DAMAGED

    @property
    def availability(self) -> MediaAttachment.Availability:
        return availability_of(self.state, self.trouble, self.closed_as)

    @property
    def needs_attention(self) -> bool:
        return asks_for_attention(self.state, self.trouble, self.accepted_at)


class Tile(NamedTuple):
    """One tile of the gallery: a file in words."""

    file: File
    id: str
    look: str  # picture, video, sound, document, missing
    opens: str  # URL of what is behind it
    badge: str  # its availability, where it is not simply here; empty where `title` says it
    title: str  # what stands there instead of a picture
    note: str  # beside or below it: a length, a size
    who: str  # sender or recipient; empty where the page has only one
    when: str
    sent_at: str
    exact_time: str
    words: str  # accessible name, for screen readers
    uses: str  # names of the work records it is linked to
    message: str  # URL of its message in the conversation


@dataclass(frozen=True, slots=True)
class Group:
    """The files of one day or month."""

    key: str
    day: date
    is_month: bool
    tiles: list[Tile]


# --- Reading ---------------------------------------------------------------------------------


def read_page(
    narrowing: Narrowing, before: Sequence[Any] | None, *, size: int, most: int
) -> tuple[list[File], int]:
    """Read `size` files, newest first, from this key of `slides.ORDER` on; and count all.

    Counting stops at `most`. Columns, by statements that are built once: as objects of the session
    by statements built each time, a page of 48 took 4 ms instead of 1.
    """
    if narrowing.is_of_choices_only:
        files, count = _build_once(narrowing.kind, narrowing.filed, narrowing.state)
    else:
        files, count = _build(narrowing)
    if before is not None:
        files = files.where(slides.beyond_slide(before, forward=False))
    found = [File(*row) for row in db.session.execute(files, {"limit": size})]
    return found, db.session.scalar(count, {"limit": most}) or 0


def newest_first(
    query: sa.Select[*tuple[Any, ...]], conditions: Iterable[Condition]
) -> sa.Select[*tuple[Any, ...]]:
    """Select what fulfils the conditions, in the order of the lightbox.

    The index gives the time order; only ties within a message are sorted.
    """
    return query.where(*conditions).order_by(*(column.desc() for column in slides.ORDER))


_OF_OTHERS = {"direction": Message, "sender": Message, "participants": Conversation}
_FILES = (
    sa.select(*(getattr(_OF_OTHERS.get(name, MediaAttachment), name) for name in File._fields))
    .join(MediaAttachment.message)
    .join(MediaAttachment.conversation)
    .limit(sa.bindparam("limit", type_=sa.Integer))
)


def _build(narrowing: Narrowing) -> tuple[sa.Select[*tuple[Any, ...]], sa.Select[int]]:
    conditions = narrowing.conditions()
    some = sa.select(sa.literal(1)).select_from(MediaAttachment).where(*conditions)
    some = some.limit(sa.bindparam("limit", type_=sa.Integer))
    count = sa.select(sa.func.count()).select_from(some.subquery())
    return newest_first(_FILES, conditions), count


@functools.lru_cache(maxsize=100)  # more than there are combinations
def _build_once(
    kind: str, filed: str, state: str
) -> tuple[sa.Select[*tuple[Any, ...]], sa.Select[int]]:
    return _build(Narrowing(kind, filed, state))


# --- Describing ------------------------------------------------------------------------------


def grouped(
    files: Sequence[File],
    names: dict[str, str],
    conversation: Conversation | None,
    by: str | None,
) -> tuple[str, list[Group]]:
    """Describe the files in groups by "day" or "month"; if not asked for one, by what fits.

    Returns by which, too.
    """
    days = [formatting.local(one.sent_at).date() for one in files]
    by = by or _fitting(days)
    is_month = by == "month"
    uses = slides.uses_of([one.id for one in files if one.linked_at is not None])
    groups: list[Group] = []
    for one, day in zip(files, days, strict=True):
        first = day.replace(day=1) if is_month else day
        if not groups or groups[-1].day != first:
            groups.append(Group(f"{day:%Y-%m}" if is_month else f"{day}", first, is_month, []))
        linked_to = ", ".join(name for _, name in uses.get(one.id, ()))
        groups[-1].tiles.append(_tile(one, day, names, conversation, linked_to, is_month=is_month))
    return by, groups


def _fitting(days: Sequence[date]) -> str:
    """Choose grouping by day or by month, so that headings do not outnumber tiles."""
    count = len(set(days))
    return "month" if count > 4 and len(days) < 3 * count else "day"


def _tile(
    file: File,
    day: date,
    names: dict[str, str],
    conversation: Conversation | None,
    uses: str,
    *,
    is_month: bool,
) -> Tile:
    short_day, clock = f"{day:%b} {day.day}", formatting.clock(file.sent_at)
    if file.direction is Message.Direction.INCOMING:
        sender = file.sender or ""
        who = names.get(sender) or (quo.display(sender) if sender else "Unknown caller")
        by = f"from {who}"
        if conversation and len(conversation.numbers) < 2:
            who = ""  # the page title names them
    else:
        title = title_of_numbers(file.numbers, names)
        who = "Sent by us" if conversation else f"To {title}"
        by = f"to {title}"
    what = what_is(file.role, file.media_type).capitalize()
    page = url_for("conversations.pages.show", conversation_id=file.conversation_id)
    message = f"{page}#message-{file.message_id}"
    look, opens, title, note = _face(file, what, message)
    state = "" if file.availability is Availability.HERE else AVAILABILITY[file.availability]
    return Tile(
        file, str(file.id), look, opens, state if look != "missing" else "", title, note, who,
        when=short_day if is_month else clock,
        sent_at=file.sent_at.isoformat(),
        exact_time=formatting.exact_time(file.sent_at),
        words=f"{what} {by}, {short_day}, {clock}{', ' if state else ''}{state.lower()}",
        uses=uses,
        message=message,
    )  # fmt: skip


def _face(file: File, what: str, message: str) -> tuple[str, str, str, str]:
    """Return its look, the URL behind it, its title, and a note."""
    if file.has_picture:
        if file.media_type is MediaType.VIDEO and not file.is_dead:
            length = formatting.duration(file.duration_seconds)
            return "video", _url_of(file, "playable" if file.plays else ""), "", length
        return "picture", _url_of(file), "", ""
    if not file.is_stored:
        return "missing", message, f"{what}: {AVAILABILITY[file.availability].lower()}", ""
    if file.media_type is MediaType.AUDIO and file.plays:
        return "sound", message, what, formatting.duration(file.duration_seconds)
    download = url_for("media.files.original", media_id=file.id, download=1)
    title = given_name(file.file_name) or file_kind(file.role, file.media_type, file.mime_type)
    is_due = file.copy_state is MediaAttachment.CopyState.DUE
    coming = "A copy that plays" if file.media_type is MediaType.AUDIO else "The picture"
    note = f"Here. {coming} is being made…" if is_due else formatting.size(file.file_size)
    if file.is_dead:
        note = "Cannot be played"
    return "document", download, title, note


def _url_of(file: File, variant: str = "") -> str:
    """Return the URL of this variant, or else of the picture that a thumbnail opens."""
    endpoint = (
        f"media.files.{variant}" if variant else picture_behind(file.state, file.preview_path)
    )
    return url_for(endpoint, media_id=file.id)
