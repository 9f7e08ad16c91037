"""Links between media and work records, and the tray of unfiled media.

Lock order: the media rows first, then the record, as ingest does. Two people who link the same
photo then wait for each other without a deadlock.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import joinedload, load_only

from viewer.config import settings
from viewer.extensions import db, now
from viewer.models import Conversation, MediaAttachment, MediaLink, Message, User, WorkRecord
from viewer.office import audit

Kind, Status, State = WorkRecord.Kind, WorkRecord.Status, MediaAttachment.State

NEAR = timedelta(days=7)  # between a photo and the visit it probably belongs to
SAME_JOB = timedelta(days=1)  # the same, if another number sent the photo
SOON = timedelta(days=2)
SUGGESTED, SUGGESTED_ELSEWHERE = 8, 4
CONSIDERED = 200  # records of a customer, newest first


class NotStored(Exception):
    """Some of the files are not stored yet, or are in the trash."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A record that the files may belong to."""

    record: WorkRecord
    linked: int  # how many of the files are linked to it already
    is_near: bool  # an appointment around the time of the files


def name_of(record: WorkRecord) -> str:
    return short_name(record.kind, record.number, record.title, record.starts_at, record.visit)


def short_name(
    kind: WorkRecord.Kind,
    number: str | None,
    title: str,
    starts_at: datetime | None,
    visit: str | None,
) -> str:
    """Short name: Q-104, INV-2031, visit Mar 12; the title if there is no number."""
    if kind is Kind.APPOINTMENT and starts_at is not None:
        day = starts_at.astimezone(settings().zone)
        today = now().astimezone(settings().zone)
        year = "" if day.year == today.year else f", {day.year}"
        return f"{visit or 'visit'} {day:%b} {day.day}{year}"
    return number or title or str(kind)


# --- Links -----------------------------------------------------------------------------------


def link(
    media: Iterable[MediaAttachment],
    record: WorkRecord,
    by: User | None,
    caption: str | None = None,
    *,
    position: int | None = None,
) -> list[MediaLink]:
    """Link files to the record, oldest first, after its existing links (or at `position`).

    Idempotent: existing links stay as they are, and only new ones are returned. These share one
    `created_at`, by which they can be undone together. Raises NotStored. Does not commit.
    """
    files = _hold_files(media)
    if not all(one.is_stored for one in files):
        raise NotStored
    links = _hold_links(record)
    known = {one.media_id for one in links}
    moment = now()
    new = [
        MediaLink(
            media=one,
            record_id=record.id,
            caption=caption or None,
            created_at=moment,
            created_by_id=by.id if by else None,
        )
        for one in sorted(files, key=lambda one: (one.sent_at, one.position, str(one.id)))
        if one.id not in known
    ]
    db.session.add_all(new)
    place = len(links) if position is None else position
    _number_links(links[:place] + new + links[place:])
    _settle_unfiled(files)
    for one in new:
        audit.note("link", f"to {name_of(record)}", by=by, subject=("media", one.media_id))
    return new


def unlink(
    media: Iterable[MediaAttachment], record: WorkRecord, by: User | None
) -> list[MediaAttachment]:
    """Unlink files from the record. Returns those that were linked. Idempotent. Does not commit."""
    files = _hold_files(media)
    leaving = {one.id for one in files}
    links = _hold_links(record)
    gone = {one.media_id: one for one in links if one.media_id in leaving}
    for one in gone.values():
        db.session.delete(one)
    if record.cover_id in gone:
        record.cover_id = None
    db.session.flush()
    _number_links([one for one in links if one.media_id not in gone])
    _settle_unfiled(files)
    for media_id in gone:
        audit.note("unlink", f"from {name_of(record)}", by=by, subject=("media", media_id))
    return [one for one in files if one.id in gone]


def media_linked_at(record: WorkRecord, moment: datetime, by: User | None) -> list[MediaAttachment]:
    """The media this user linked to the record in one call, identified by `created_at`."""
    return list(
        db.session.scalars(
            sa.select(MediaAttachment)
            .join(MediaLink)
            .where(
                MediaLink.record_id == record.id,
                MediaLink.created_at == moment,
                MediaLink.created_by_id == (by.id if by else None),
            )
        )
    )


def links_of(record: WorkRecord) -> list[MediaLink]:
    """The record's links, in order, without trashed media."""
    return list(
        db.session.scalars(
            sa.select(MediaLink)
            .join(MediaLink.media)
            .where(MediaLink.record_id == record.id, MediaAttachment.state != State.TRASHED)
            .order_by(MediaLink.position, MediaLink.id)
            .options(joinedload(MediaLink.media).joinedload(MediaAttachment.message))
        )
    )


def links_from(media: MediaAttachment) -> list[MediaLink]:
    """The file's links, newest record first."""
    return uses_of([media.id]).get(media.id, [])


def uses_of(ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, list[MediaLink]]:
    """Links by media id, in one query; media without a link are left out."""
    found: dict[uuid.UUID, list[MediaLink]] = {}
    for one in db.session.scalars(
        sa.select(MediaLink)
        .join(MediaLink.record)
        .where(MediaLink.media_id.in_(list(ids)))
        .order_by(WorkRecord.created_at.desc(), WorkRecord.id)
        .options(joinedload(MediaLink.record))
    ):
        found.setdefault(one.media_id, []).append(one)
    return found


def reorder_links(record: WorkRecord, wanted: Sequence[uuid.UUID]) -> None:
    """Order the record's links by these link ids; the others follow. Does not commit."""
    places = {link_id: place for place, link_id in enumerate(wanted)}
    links = _hold_links(record)
    _number_links(sorted(links, key=lambda one: places.get(one.id, len(places))))


def move_link(record: WorkRecord, link_id: uuid.UUID, steps: int) -> None:
    """Swap a link with a neighbour: `steps` is -1 for earlier, 1 for later. Does not commit."""
    links = _hold_links(record)
    seen = [one.id for one in links_of(record)]  # skips trashed media
    if link_id not in seen:
        return
    place = seen.index(link_id)
    other = seen[max(0, min(len(seen) - 1, place + steps))]
    by_id = {one.id: place for place, one in enumerate(links)}
    here, there = by_id[link_id], by_id[other]
    links[here], links[there] = links[there], links[here]
    _number_links(links)


def set_caption(one: MediaLink, caption: str, by: User | None) -> None:
    """Set the file's caption on this record, if it is still linked. Idempotent. Does not commit."""
    done = db.session.execute(
        sa.update(MediaLink)
        .where(MediaLink.id == one.id, sa.func.coalesce(MediaLink.caption, "") != caption)
        .values(caption=caption or None)
    )
    if not done.rowcount:  # type: ignore[attr-defined]
        return
    words = f"on {name_of(one.record)}: {caption or 'none'}"
    audit.note("link.caption", words, by=by, subject=("media", one.media_id))


def set_cover(record: WorkRecord, media_id: uuid.UUID | None) -> bool:
    """Choose the record's cover photo; None means the first one. Does not commit.

    Returns False if the photo is not linked to the record.
    """
    links = _hold_links(record)
    if media_id is not None and media_id not in {one.media_id for one in links}:
        return False
    record.cover_id = media_id
    return True


def _hold_files(media: Iterable[MediaAttachment]) -> list[MediaAttachment]:
    """Lock and reload these rows until the transaction ends, always in the same order."""
    return list(
        db.session.scalars(
            sa.select(MediaAttachment)
            .where(MediaAttachment.id.in_({one.id for one in media}))
            .order_by(MediaAttachment.created_at, MediaAttachment.id)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
    )


def _hold_links(record: WorkRecord) -> list[MediaLink]:
    """Lock the record until the transaction ends. Returns its links, reloaded, in order."""
    db.session.execute(
        sa.select(WorkRecord.id).filter_by(id=record.id).with_for_update(key_share=True)
    )
    db.session.refresh(record, ["cover_id"])
    return list(
        db.session.scalars(
            sa.select(MediaLink)
            .filter_by(record_id=record.id)
            .order_by(MediaLink.position, MediaLink.created_at, MediaLink.id)
            .execution_options(populate_existing=True)
        )
    )


def _number_links(links: Sequence[MediaLink]) -> None:
    for place, one in enumerate(links):
        one.position = place
    db.session.flush()


def _settle_unfiled(files: Sequence[MediaAttachment]) -> None:
    """Recompute `is_unfiled` of each file."""
    facts = db.session.execute(
        sa.select(
            MediaAttachment.id,
            Message.direction == Message.Direction.INCOMING,
            MediaAttachment.links.any(),
        )
        .join(MediaAttachment.message)
        .where(MediaAttachment.id.in_([one.id for one in files]))
    )
    known = {media_id: (is_incoming, is_linked) for media_id, is_incoming, is_linked in facts}
    for one in files:
        is_incoming, is_linked = known[one.id]
        one.is_unfiled = one.waits_in_tray(is_incoming=bool(is_incoming), is_linked=is_linked)


# --- The tray --------------------------------------------------------------------------------


def mark_not_needed(media: Iterable[MediaAttachment], by: User | None) -> list[MediaAttachment]:
    """Mark unfiled media as needing no record. Returns those that were unfiled. Does not commit.

    They share one `not_needed_at`, by which they can be undone together.
    """
    files = [one for one in _hold_files(media) if one.is_unfiled]
    moment = now()
    for one in files:
        one.not_needed_at, one.is_unfiled = moment, False
        audit.note("not_needed", by=by, subject=("media", one.id))
    return files


def mark_needed(media: Iterable[MediaAttachment], by: User | None) -> list[MediaAttachment]:
    """Undo `mark_not_needed`: back into the tray, unless linked. Does not commit."""
    files = [one for one in _hold_files(media) if one.not_needed_at is not None]
    for one in files:
        one.not_needed_at = None
        audit.note("needed", by=by, subject=("media", one.id))
    db.session.flush()
    _settle_unfiled(files)
    return files


def not_needed_since(moment: datetime) -> list[MediaAttachment]:
    """The media marked as not needed in one call, identified by `not_needed_at`."""
    return list(db.session.scalars(sa.select(MediaAttachment).filter_by(not_needed_at=moment)))


def _unfiled_up_to(most: int) -> sa.ScalarSelect[int]:
    some = (
        sa.select(sa.literal(1))
        .select_from(MediaAttachment.__table__)
        .where(MediaAttachment.is_in("unfiled"))
        .limit(most)
        .subquery()
    )
    return sa.select(sa.func.count()).select_from(some).scalar_subquery()


# The number of unfiled media, at most 100: a column of another query.
UNFILED = _unfiled_up_to(100)


def count_unfiled(most: int) -> int:
    """The number of unfiled media, at most `most`."""
    return db.session.scalar(sa.select(_unfiled_up_to(most))) or 0


def list_unfiled(limit: int, *conditions: sa.ColumnElement[bool]) -> list[MediaAttachment]:
    """One page of unfiled media, oldest first; `conditions` may hold a keyset cursor."""
    return list(
        db.session.scalars(
            sa.select(MediaAttachment)
            .where(MediaAttachment.is_in("unfiled"), *conditions)
            .order_by(MediaAttachment.sent_at, MediaAttachment.id)
            .limit(limit)
            .options(joinedload(MediaAttachment.conversation))
        )
    )


def list_not_needed(limit: int, *conditions: sa.ColumnElement[bool]) -> list[MediaAttachment]:
    """One page of media marked as not needed, newest mark first."""
    return list(
        db.session.scalars(
            sa.select(MediaAttachment)
            .where(
                MediaAttachment.not_needed_at.is_not(None),
                MediaAttachment.state == State.STORED,
                *conditions,
            )
            .order_by(MediaAttachment.not_needed_at.desc(), MediaAttachment.id.desc())
            .limit(limit)
            .options(joinedload(MediaAttachment.conversation))
        )
    )


def list_pickable(
    record: WorkRecord, limit: int, *conditions: sa.ColumnElement[bool]
) -> list[MediaAttachment]:
    """One page of stored media of the record's conversation, newest first."""
    return list(
        db.session.scalars(
            sa.select(MediaAttachment)
            .where(
                MediaAttachment.conversation_id == record.conversation_id,
                MediaAttachment.state == State.STORED,
                *conditions,
            )
            .order_by(MediaAttachment.sent_at.desc(), MediaAttachment.id.desc())
            .limit(limit)
        )
    )


_HAS_PHOTO = (
    sa.select(MediaLink.id)
    .join(MediaLink.media)
    .where(
        MediaLink.record_id == WorkRecord.id,
        MediaAttachment.media_type == MediaAttachment.MediaType.PHOTO,
        MediaAttachment.state != State.TRASHED,
    )
    .exists()
)
_VISITS = (
    sa.select(WorkRecord)
    .where(
        WorkRecord.kind == Kind.APPOINTMENT,
        WorkRecord.status == Status.PLANNED,
        WorkRecord.archived_at.is_(None),
        WorkRecord.starts_at.between(sa.bindparam("first"), sa.bindparam("last")),
        ~_HAS_PHOTO,
    )
    .order_by(WorkRecord.starts_at, WorkRecord.id)
    .limit(sa.bindparam("limit"))
    .options(
        load_only(WorkRecord.kind, WorkRecord.starts_at, WorkRecord.visit, raiseload=True),
        joinedload(WorkRecord.conversation).load_only(Conversation.participants, raiseload=True),
    )
)


def visits_soon(limit: int = 6) -> list[WorkRecord]:
    """Planned appointments of the next two days without a photo, soonest first."""
    moment = now()
    wanted = {"first": moment, "last": moment + SOON, "limit": limit}
    return list(db.session.scalars(_VISITS, wanted))


# --- Suggestions -----------------------------------------------------------------------------


def suggestions(
    media: Sequence[MediaAttachment], limit: int | None = SUGGESTED
) -> list[Suggestion]:
    """Records of the files' customers that they may belong to, likeliest first.

    Open quotes, appointments around that time, other open records, then the newest others.
    """
    times: dict[uuid.UUID, list[datetime]] = {}
    for one in media:
        times.setdefault(one.conversation_id, []).append(one.sent_at)
    records = db.session.scalars(
        sa.select(WorkRecord)
        .where(WorkRecord.conversation_id.in_(times), WorkRecord.archived_at.is_(None))
        .order_by(WorkRecord.created_at.desc(), WorkRecord.id)
        .limit(CONSIDERED)
        .options(joinedload(WorkRecord.conversation))
    )
    near = {one: _is_near(one, times[one.conversation_id], NEAR) for one in records}
    likeliest = sorted(near, key=lambda one: _rank(one, near[one]))[:limit]
    return as_suggestions(likeliest, media, near)


def suggestions_elsewhere(media: Sequence[MediaAttachment]) -> list[Suggestion]:
    """Records of other customers: a colleague or neighbor may have sent the files.

    Appointments within a day of the files, then the newest open quotes.
    """
    customers = {one.conversation_id for one in media}
    times = [one.sent_at for one in media]
    others = (
        sa.select(WorkRecord)
        .where(WorkRecord.conversation_id.not_in(customers), WorkRecord.archived_at.is_(None))
        .limit(SUGGESTED_ELSEWHERE)
        .options(joinedload(WorkRecord.conversation))
    )
    visits = db.session.scalars(
        others.where(
            WorkRecord.kind == Kind.APPOINTMENT,
            WorkRecord.status != Status.CANCELED,
            WorkRecord.starts_at.between(min(times) - SAME_JOB, max(times) + SAME_JOB),
        ).order_by(WorkRecord.starts_at.desc(), WorkRecord.id)
    ).all()
    quotes = db.session.scalars(
        others.where(
            WorkRecord.kind == Kind.QUOTE, WorkRecord.status.in_((Status.DRAFT, Status.SENT))
        ).order_by(WorkRecord.created_at.desc(), WorkRecord.id.desc())
    ).all()
    near = {one: _is_near(one, times, SAME_JOB) for one in (*visits, *quotes)}
    return as_suggestions(list(near)[:SUGGESTED_ELSEWHERE], media, near)


def as_suggestions(
    records: Sequence[WorkRecord],
    media: Sequence[MediaAttachment],
    near: Mapping[WorkRecord, bool] | None = None,
) -> list[Suggestion]:
    """Suggestions from records found otherwise, with the number of files linked to each."""
    counts = db.session.execute(
        sa.select(MediaLink.record_id, sa.func.count())
        .where(
            MediaLink.media_id.in_([one.id for one in media]),
            MediaLink.record_id.in_([one.id for one in records]),
        )
        .group_by(MediaLink.record_id)
    )
    linked = {row.record_id: row[1] for row in counts}
    near = near or {}
    return [Suggestion(one, linked.get(one.id, 0), near.get(one, False)) for one in records]


def _is_near(record: WorkRecord, times: Sequence[datetime], distance: timedelta) -> bool:
    return (
        record.kind is Kind.APPOINTMENT
        and record.starts_at is not None
        and record.status is not Status.CANCELED
        and min(times) - distance <= record.starts_at <= max(times) + distance
    )


def _rank(record: WorkRecord, is_near: bool) -> int:
    if record.kind is Kind.QUOTE and record.is_open:
        return 0
    if is_near:
        return 1
    return 2 if record.is_open else 3
