"""Unfiled files: those not linked to any work record yet, and those marked as not needed."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from viewer.extensions import db
from viewer.models import Conversation, MediaAttachment, WorkRecord
from viewer.office import filing
from viewer.web.access import the_user
from viewer.web.pagination import Column, newer, next_cursor, older
from viewer.web.undo import flash_with_undo
from viewer.web.work.selection import (
    chosen_files,
    next_address,
    read_moment,
    titles_by_id,
)
from viewer.web.work.wording import counted, sentence

bp = Blueprint("unfiled", __name__)

TRAY_PAGE = 60
INLINE = 2  # suggested records shown beside a customer's files

Kind = WorkRecord.Kind


@dataclass(frozen=True, slots=True)
class Group:
    """The unfiled files of one customer."""

    conversation: Conversation
    title: str
    media: list[MediaAttachment]  # oldest first
    suggestions: list[filing.Suggestion]


@bp.get("/unfiled")
def show() -> str:
    """List unfiled files, oldest first, grouped by customer.

    With `?show=not-needed`: those marked as not needed, newest first.
    """
    if request.args.get("show") == "not-needed":
        return _not_needed_page()
    key = MediaAttachment.sent_at, MediaAttachment.id
    conditions = _after(key, newer)
    found = filing.list_unfiled(TRAY_PAGE + 1, *conditions)
    page = found[:TRAY_PAGE]
    return render_template(
        "work/unfiled.html",
        groups=_groups(page),
        all_of=request.args.get("all", ""),
        more=next_cursor(found, TRAY_PAGE, *key),
        is_first=not conditions,
    )


def _not_needed_page() -> str:
    key = MediaAttachment.not_needed_at, MediaAttachment.id
    conditions = _after(key, older)
    found = filing.list_not_needed(TRAY_PAGE + 1, *conditions)
    page = found[:TRAY_PAGE]
    return render_template(
        "work/not_needed.html",
        page=page,
        titles=titles_by_id([one.conversation for one in page]),
        more=next_cursor(found, TRAY_PAGE, *key),
        is_first=not conditions,
    )


def _after(
    key: tuple[Column, Column], side: Callable[[Column, Column, str], sa.ColumnElement[bool]]
) -> list[sa.ColumnElement[bool]]:
    cursor = request.args.get("after")
    return [side(*key, cursor)] if cursor else []


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
    """Mark files as not needed: they belong to no work record. Idempotent."""
    chosen = chosen_files()
    marked = filing.mark_not_needed(chosen.media, the_user())
    db.session.commit()
    goal = next_address() or url_for(".show")
    if not marked:
        flash("Nothing to set aside: these files are filed already.")
        return redirect(goal, 303)
    moment = marked[0].not_needed_at
    assert moment is not None  # noqa: S101 - set by mark_not_needed
    flash_with_undo(
        f"{sentence(counted(marked))} marked as not needed.",
        url_for(".needed"),
        at=moment.isoformat(),
        next=goal,
    )
    return redirect(goal, 303)


@bp.post("/unfiled/needed")
def needed() -> Response:
    """Undo "not needed": for the named files, or for all marked at once, at the time `at`."""
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
