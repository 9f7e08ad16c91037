"""Request parsing for linking forms: files, record, `next` URL."""

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from flask import abort, flash, redirect, request, url_for
from sqlalchemy.orm import joinedload
from werkzeug.wrappers import Response

from viewer.extensions import db
from viewer.models import Conversation, MediaAttachment, WorkRecord
from viewer.models.media import MOST_FILES
from viewer.office import captions, records
from viewer.office.names import titles_of
from viewer.web import date_range
from viewer.web.access import local_path
from viewer.web.work.wording import page_of


@dataclass(frozen=True, slots=True)
class Chosen:
    """The files that a form or a URL names."""

    media: list[MediaAttachment]  # oldest first
    left_out: int  # how many were unknown, not stored yet, or in the trash

    @property
    def customers(self) -> list[Conversation]:
        """Return their conversations, the one with the most files first."""
        senders = [one.conversation for one in self.media]
        return sorted(dict.fromkeys(senders), key=lambda one: -senders.count(one))


def chosen_files(*, also_put_away: bool = False) -> Chosen:
    """Load the files in `media` (repeated), or if none is ticked in `shown`; plus a `message`'s.

    Only stored files, unless `also_put_away` includes the damaged and trashed. Aborts with 400.
    """
    ids = read_ids(request.values.getlist("media") or request.values.getlist("shown"))
    if len(ids) > MOST_FILES:
        abort(400, f"Choose at most {MOST_FILES} files at once.")
    is_wanted: sa.ColumnElement[bool] = MediaAttachment.id.in_(ids)
    if message := request.values.get("message"):
        is_wanted |= MediaAttachment.message_id.in_(read_ids([message]))
    if not also_put_away:
        is_wanted &= MediaAttachment.state.in_(
            (MediaAttachment.State.STORED, MediaAttachment.State.DUPLICATE)
        )
    found = db.session.scalars(
        sa.select(MediaAttachment)
        .where(is_wanted)
        .order_by(MediaAttachment.sent_at, MediaAttachment.position, MediaAttachment.id)
        .options(joinedload(MediaAttachment.conversation))
    ).all()
    known = {one.id for one in found}
    # A page from before may name a duplicate.
    shown = dict.fromkeys(row.shown_as() for row in found)
    chosen = [one for one in shown if also_put_away or one.is_stored]
    return Chosen(chosen, sum(one not in known for one in ids))


def nothing_chosen(chosen: Chosen) -> Response:
    """Flash why no file was selected, and redirect back."""
    flash(
        "None of these files is here yet, so they can't be linked."
        if chosen.left_out or "message" in request.values
        else "Choose at least one photo first.",
        "error",
    )
    return redirect(next_address() or url_for("conversations.inbox.show"), 303)


def asked_record() -> WorkRecord:
    return find_record(next(iter(read_ids([request.form.get("record", "")]))))


def find_record(record_id: uuid.UUID, *, to_change: bool = False) -> WorkRecord:
    """Load a record, with a row lock if `to_change`. Aborts with 404 if there is none."""
    record = records.find_record(record_id, to_change=to_change)
    if record is None:
        abort(404, "There is no such record.")
    return record


def read_ids(words: Iterable[str]) -> list[uuid.UUID]:
    try:
        return list(dict.fromkeys(uuid.UUID(one) for one in words))
    except ValueError:
        abort(400, "That is no file or record of ours.")


def read_caption() -> str | None:
    return short_caption(request.form.get("caption", "")) or None


def short_caption(words: str) -> str:
    """A caption as it is kept. Aborts with 400 if it is too long."""
    try:
        return captions.clean(words)
    except captions.TooLong as refusal:
        abort(400, str(refusal))


def read_number(name: str) -> int | None:
    value = request.form.get(name, "")
    return int(value) if re.fullmatch("[0-9]{1,9}", value) else None


def read_moment() -> datetime:
    return date_range.read_moment(request.form.get("at", ""))


def next_address() -> str | None:
    wanted = request.values.get("next")
    return local_path(wanted) if wanted else None


def goal_of(record: WorkRecord) -> str:
    return next_address() or page_of(record)


def back_to(conversation: Conversation) -> str:
    return next_address() or url_for("conversations.pages.show", conversation_id=conversation.id)


def titles_by_id(conversations: Iterable[Conversation]) -> dict[uuid.UUID, str]:
    rows = list(dict.fromkeys(conversations))
    return {one.id: title for one, title in zip(rows, titles_of(rows), strict=True)}
