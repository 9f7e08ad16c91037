"""Findings about stored originals: damaged if the bytes are wrong, stored once they are right."""

import contextlib
import logging
import uuid

import sqlalchemy as sa

from viewer import holdings
from viewer.extensions import begin_writing, db, now
from viewer.holdings import Finding, WrongBytes, WrongSize
from viewer.models import MediaAttachment
from viewer.office import audit
from viewer.storage import Missing, Unavailable

log = logging.getLogger(__name__)

State = MediaAttachment.State

PROBLEMS = {
    Finding.DIFFERENT: "The bytes in the store are not those that came.",
    Finding.MISSING: "The file is missing from the store.",
}


RIGHT_AGAIN = "The bytes in the store are right again."


def is_known_damaged() -> sa.ColumnElement[bool]:
    """Whether an earlier check found the original damaged; also of one in the trash."""
    said = sa.func.coalesce(MediaAttachment.problem, "")
    return (MediaAttachment.state == State.DAMAGED) | said.in_(PROBLEMS.values())


def note_finding(media: MediaAttachment, finding: Finding) -> None:
    """Record what a person's check found, on the row and in the audit log. Does not commit."""
    _write(media, finding)
    audit.note(
        "check",
        PROBLEMS.get(finding, "The bytes are those that came."),
        subject=("media", media.id),
    )


def note_damage(media: MediaAttachment, finding: Finding) -> bool:
    """Record damage that was met by chance. Whether it is news. Does not commit."""
    is_news = _write(media, finding)
    if is_news:
        audit.note("damage", PROBLEMS[finding], subject=("media", media.id))
    return is_news


def note_repair(media: MediaAttachment, source: str) -> bool:
    """Record that the right bytes lie under its key again. Whether it was damaged. No commit."""
    was_damaged = _write(media, Finding.SAME)
    if was_damaged:
        audit.note("repair", source, subject=("media", media.id))
    return was_damaged


def meet(media: MediaAttachment, trouble: Missing | WrongSize) -> None:
    """Record damage met at an opening, before anybody is served wrong bytes. Commits."""
    begin_writing()
    finding = Finding.DIFFERENT if isinstance(trouble, WrongSize) else Finding.MISSING
    is_news = note_damage(media, finding)
    db.session.commit()
    if is_news:
        _look_again(media)


def note_wrong_bytes(media_id: uuid.UUID, trouble: WrongBytes) -> None:
    """Record damage that a move of this file met. Commits."""
    begin_writing()
    note_damage(db.session.get_one(MediaAttachment, media_id), trouble.finding)
    db.session.commit()


def _look_again(media: MediaAttachment) -> None:
    """A repair may have ended between the opening and the record, and had nothing to record."""
    store = holdings.store_of(media)
    with contextlib.suppress(Unavailable):
        if holdings.compare_size(store, media.file_path, media.file_size or 0) is not Finding.SAME:
            return
        if holdings.check_file(media) is Finding.SAME:
            begin_writing()
            note_repair(media, RIGHT_AGAIN)
            db.session.commit()


def _write(media: MediaAttachment, finding: Finding) -> bool:
    """A damaged file whose bytes are right again becomes stored; one in the trash stays there."""
    row, problem = MediaAttachment, PROBLEMS.get(finding)
    if problem is None:
        change = sa.update(row).where(is_known_damaged()).values(problem=None, verified_at=now())
        states = {State.DAMAGED: State.STORED}
    else:
        change = sa.update(row).where(~is_known_damaged()).values(problem=problem)
        states = {State.STORED: State.DAMAGED}
    done = db.session.execute(
        change.where(
            row.id == media.id,
            row.state.in_((State.STORED, State.DAMAGED, State.TRASHED, State.DUPLICATE)),
            row.is_in("kept"),
            row.sha256 == media.sha256,
        )
        .values(state=sa.case(states, value=row.state, else_=row.state))
        .execution_options(synchronize_session="fetch")
    )
    if problem:
        log.error("media=%s is damaged: %s", media.id, finding)
    return bool(done.rowcount)  # type: ignore[attr-defined]
