"""The tray of files that belong to no work yet, and those that somebody set aside."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from flask import Blueprint, flash, redirect, render_template, request, url_for
from sqlalchemy.orm import InstrumentedAttribute
from werkzeug.wrappers import Response

from viewer.extensions import db, now
from viewer.models import Conversation, MediaAttachment, WorkRecord
from viewer.office import filing
from viewer.web.access import the_user
from viewer.web.pagination import newer, older, position
from viewer.web.work.selection import (
    chosen_files,
    flash_with_undo,
    next_address,
    read_moment,
    titles_by_id,
)
from viewer.web.work.wording import counted, sentence

bp = Blueprint("unfiled", __name__)

TRAY_PAGE = 60
INLINE = 2  # suggestions beside a customer's files in the tray

Kind = WorkRecord.Kind


@dataclass(frozen=True, slots=True)
class Group:
    """One customer's files in the tray."""

    conversation: Conversation
    title: str
    media: list[MediaAttachment]  # oldest first
    suggestions: list[filing.Suggestion]


@bp.get("/unfiled")
def show() -> str:
    """What waits for somebody to say where it belongs, the oldest first; each customer's together.

    `?show=not-needed`: what somebody said belongs nowhere, the newest first.
    """
    if request.args.get("show") == "not-needed":
        return _not_needed_page()
    conditions = _after(MediaAttachment.sent_at, newer)
    found = filing.unfiled(TRAY_PAGE + 1, *conditions)
    page = found[:TRAY_PAGE]
    return render_template(
        "work/unfiled.html",
        groups=_groups(page),
        all_of=request.args.get("all", ""),
        more=position(page[-1].sent_at, page[-1].id) if len(found) > TRAY_PAGE else None,
        is_first=not conditions,
    )


def _not_needed_page() -> str:
    marked: InstrumentedAttribute[datetime] = MediaAttachment.not_needed_at  # type: ignore[assignment]
    conditions = _after(marked, older)
    found = filing.not_needed(TRAY_PAGE + 1, *conditions)
    page = found[:TRAY_PAGE]
    last = page[-1] if len(found) > TRAY_PAGE else None
    return render_template(
        "work/not_needed.html",
        page=page,
        titles=titles_by_id([one.conversation for one in page]),
        more=position(last.not_needed_at or now(), last.id) if last else None,
        is_first=not conditions,
    )


def _after(moment: InstrumentedAttribute[datetime], beyond: object) -> list[sa.ColumnElement[bool]]:
    place = request.args.get("after")
    return [beyond(moment, MediaAttachment.id, place)] if place else []  # type: ignore[operator]


def _groups(page: Sequence[MediaAttachment]) -> list[Group]:
    files: dict[Conversation, list[MediaAttachment]] = {}
    for one in page:
        files.setdefault(one.conversation, []).append(one)
    titles = titles_by_id(files)
    suggested: dict[uuid.UUID, list[filing.Suggestion]] = {}
    for likely in filing.suggestions(page, limit=None):
        if likely.is_near or (likely.record.is_open and likely.record.kind is not Kind.APPOINTMENT):
            suggested.setdefault(likely.record.conversation_id, []).append(likely)
    return [
        Group(who, titles[who.id], media, suggested.get(who.id, [])[:INLINE])
        for who, media in files.items()
    ]


@bp.post("/unfiled/not-needed")
def not_needed() -> Response:
    """These files belong to no work."""
    chosen = chosen_files()
    marked = filing.mark_not_needed(chosen.media, the_user())
    db.session.commit()
    goal = next_address() or url_for(".show")
    if not marked:
        flash("Nothing to set aside: these files are filed already.")
        return redirect(goal, 303)
    moment = marked[0].not_needed_at
    assert moment is not None  # noqa: S101 - just now
    flash_with_undo(
        f"{sentence(counted(marked))} marked as not needed.",
        url_for(".needed"),
        at=moment.isoformat(),
        next=goal,
    )
    return redirect(goal, 303)


@bp.post("/unfiled/needed")
def needed() -> Response:
    """They are needed after all: those named, or those marked in one go."""
    media = filing.not_needed_since(read_moment()) if "at" in request.form else chosen_files().media
    back = filing.mark_needed(media, the_user())
    db.session.commit()
    waiting = [one for one in back if one.is_unfiled]
    if waiting:
        flash(f"{sentence(counted(waiting))} back among the unfiled.")
    elif back:
        flash(f"{sentence(counted(back))} needed after all.")
    else:
        flash("That was undone already.")
    return redirect(next_address() or url_for(".show"), 303)
