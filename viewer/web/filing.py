"""Filing: which photos belong to which work, and the tray of those that belong to none yet."""

import re
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, abort, flash, g, redirect, render_template, request, url_for
from markupsafe import Markup
from sqlalchemy.orm import InstrumentedAttribute, joinedload
from werkzeug.wrappers import Response

from viewer.extensions import db, now
from viewer.models import Conversation, MediaAttachment, MediaLink, WorkRecord
from viewer.office import filing, money, records, worklist
from viewer.office.names import titles_of
from viewer.web import search
from viewer.web.access import Role, local_path, needs, the_user
from viewer.web.filters import clock, local, plural
from viewer.web.listing import moment_of, newer, older, position
from viewer.web.wording import what

bp = Blueprint("filing", __name__)

MOST = 500  # files at once
TRAY_PAGE = PICK_PAGE = 60
INLINE = 2  # suggestions beside a customer's files in the tray
LONGEST_CAPTION = 300
OLD = timedelta(days=7)  # in the tray

Kind = WorkRecord.Kind
Answer = str | Response | tuple[str, int]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The files that a form or an address names."""

    media: list[MediaAttachment]  # oldest first
    left_out: int  # unknown, not here yet, or in the trash

    @property
    def customers(self) -> list[Conversation]:
        """Who sent them, the one of most files first."""
        senders = [one.conversation for one in self.media]
        return sorted(dict.fromkeys(senders), key=lambda one: -senders.count(one))


@dataclass(frozen=True, slots=True)
class Group:
    """One customer's files in the tray."""

    conversation: Conversation
    title: str
    media: list[MediaAttachment]  # oldest first
    suggestions: list[filing.Suggestion]


@bp.before_request
def _say_where() -> None:
    """Whoever chooses or arranges work is at work, not in the tray."""
    if request.path.startswith("/work/"):
        g.place = "work"


# --- Choosing the work -----------------------------------------------------------------------


@bp.route("/work/link/choose", methods=["GET", "POST"])
def choose() -> Answer:
    """Which work do these files belong to? They may be many, so forms post them."""
    return _choose({})


def _choose(errors: dict[str, str]) -> Answer:
    chosen = _chosen()
    if not chosen.media:
        return _nothing(chosen)
    words = _one_line(request.values.get("q", ""))[:100]
    own = filing.suggestions(chosen.media)
    others = (
        filing.as_suggestions(_found(words), chosen.media)
        if words
        else filing.suggestions_elsewhere(chosen.media)
    )
    customers = chosen.customers
    titles = _titles([*customers, *(one.record.conversation for one in others)])
    page = render_template(
        "filing/choose.html",
        chosen=chosen,
        customers=customers,
        titles=titles,
        suggestions=own,
        others=others,
        q=words,
        errors=errors,
        typed=request.values,
        next=request.values.get("next", ""),
        back=_back_to(customers[0]),
        quote_id=request.form.get("quote_id") or uuid.uuid4(),
    )
    return (page, 422) if errors else page


def _found(words: str) -> Sequence[WorkRecord]:
    wanted = worklist.Wanted(show=worklist.ALL, terms=search.read(words))
    return worklist.page(wanted).records


@bp.post("/work/link")
def link() -> Response:
    """These files belong to this record."""
    record, chosen = _asked_record(), _chosen()
    if not chosen.media:
        return _nothing(chosen)
    try:
        new = filing.link(
            chosen.media, record, the_user(), _caption(), position=_number("position")
        )
    except filing.NotStored:
        abort(409, "One of these files was put away just now. Nothing was linked.")
    if request.form.get("cover") and new:
        filing.set_cover(record, new[0].media_id)
    db.session.commit()
    goal = _goal(record)
    if not new:
        flash(f"{_all(chosen.media)} linked to {filing.name_of(record)} already.")
        return redirect(goal, 303)
    _tell(
        _linked_words(chosen, new, record),
        url_for(".undo_link"),
        show=record if goal.partition("#")[0] != page_of(record) else None,
        record=record.id,
        at=new[0].created_at.isoformat(),
        next=goal,
    )
    return redirect(goal, 303)


@bp.post("/work/link/undo")
def undo_link() -> Response:
    """Take back what the user linked in one go. What had been linked before stays."""
    record = _asked_record()
    media = filing.linked_at(record, _when(), the_user())
    gone = filing.unlink(media, record, the_user())
    db.session.commit()
    flash(
        f"Undone: {counted(gone)} no longer linked to {filing.name_of(record)}."
        if gone
        else "That was undone already."
    )
    return redirect(_goal(record), 303)


@bp.post("/work/link/quote")
@needs(Role.OFFICE)
def new_quote() -> Answer:
    """A new quote from these files, in one step. Pressing twice makes one."""
    chosen = _chosen()
    if not chosen.media:
        return _nothing(chosen)
    by_id = {str(one.id): one for one in chosen.customers}
    conversation = by_id.get(request.form.get("customer", ""), chosen.customers[0])
    try:
        record = _make_quote(conversation)
    except ValueError as reason:
        return _choose({"amount": str(reason)})
    except records.Invalid as invalid:
        return _choose(invalid.errors)
    except records.Overtaken:
        return _choose({"title": "This quote is made already, and was edited since: choose it."})
    new = filing.link(chosen.media, record, the_user(), _caption())
    db.session.commit()
    made = f"made from {counted([one.media for one in new])}" if new else "is saved"
    flash(f"{filing.name_of(record)} {made}.")
    return redirect(page_of(record), 303)


def link_along(record: WorkRecord) -> None:
    """Link what a form for a new record carries along. Does not commit."""
    if chosen := _chosen().media:
        filing.link(chosen, record, the_user(), _caption())


@bp.post("/work/unlink")
def unlink() -> Response:
    """These files don't belong to the record after all, whatever became of them."""
    record, chosen = _asked_record(), _chosen(also_put_away=True)
    goal = _goal(record)
    _unlink(chosen.media, record, goal)
    return redirect(goal, 303)


def _unlink(media: Sequence[MediaAttachment], record: WorkRecord, goal: str) -> None:
    """Unlink, commit, and offer to put it back as it was: place, caption, cover.

    What is damaged or in the trash cannot be linked again, so that is not offered for it.
    """
    cover = record.cover_id
    old = {one.media_id: one for one in filing.links_of(record)}
    gone = filing.unlink(media, record, the_user())
    db.session.commit()
    if not gone:
        flash(f"That was not linked to {filing.name_of(record)} any more.")
        return
    words = f"{_sentence(counted(gone))} unlinked from {filing.name_of(record)}."
    if not all(one.is_stored for one in gone):
        flash(words, "done")
        return
    first = old.get(gone[0].id)
    _tell(
        words,
        url_for(".link"),
        media=[one.id for one in gone],
        record=record.id,
        position=first.position if first else None,
        caption=first.caption if first and len(gone) == 1 else None,
        cover="yes" if cover == gone[0].id else None,
        next=goal,
    )


# --- The files of a record -------------------------------------------------------------------


@bp.route("/work/<uuid:record_id>/pick", methods=["GET", "POST"])
def pick(record_id: uuid.UUID) -> str:
    """Choose among what the customer sent, newest first.

    Older pages are posted for, so that what is ticked on this one goes along.
    """
    record = _find(record_id)
    place = request.args.get("before")
    conditions = [older(MediaAttachment.sent_at, MediaAttachment.id, place)] if place else []
    found = filing.to_pick(record, PICK_PAGE + 1, *conditions)
    page = found[:PICK_PAGE]
    shown = {one.id for one in page}
    ticked = _ids(request.form.getlist("media"))
    return render_template(
        "filing/pick.html",
        record=record,
        title=_titles([record.conversation])[record.conversation_id],
        page=page,
        linked={one.media_id for one in filing.links_of(record)},
        ticked=set(ticked) & shown,
        elsewhere=[one for one in ticked if one not in shown],
        older=position(page[-1].sent_at, page[-1].id) if len(found) > PICK_PAGE else None,
        is_first=place is None,
    )


@bp.post("/work/<uuid:record_id>/files")
def arrange(record_id: uuid.UUID) -> Response:
    """The order, the captions, and what one button did: all that the form holds is kept."""
    record, form = _find(record_id), request.form
    links = {str(one.id): one for one in filing.links_of(record)}
    if order := _ids(form.getlist("link")):
        filing.reorder(record, order)
    for link_id, one in links.items():
        typed = form.get(f"caption-{link_id}")
        # Only what was typed here: a colleague may have written another one meanwhile.
        if typed is not None and typed != form.get(f"was-{link_id}"):
            filing.set_caption(one, _short(typed), the_user())
    pressed, link_id = _pressed(("earlier", "later", "cover", "remove"))
    target = links.get(link_id)
    if target is not None and pressed in ("earlier", "later"):
        filing.move(record, target.id, -1 if pressed == "earlier" else 1)
    if target is not None and pressed == "cover":
        is_cover = record.cover_id == target.media_id
        filing.set_cover(record, None if is_cover else target.media_id)
    db.session.commit()
    if request.headers.get("X-Requested-With") == "fetch":
        return Response(status=204)
    if "done" in form:
        return redirect(page_of(record, anchor="files"), 303)
    goal = page_of(record, arrange=1, anchor=f"link-{target.id}" if target else "files")
    if target is not None and pressed == "remove":
        goal = page_of(record, arrange=1, anchor="files")
        _unlink([target.media], record, goal)
    return redirect(goal, 303)


def _pressed(names: Iterable[str]) -> tuple[str, str]:
    return next(((name, request.form[name]) for name in names if name in request.form), ("", ""))


# --- The tray --------------------------------------------------------------------------------


@bp.get("/unfiled")
def tray() -> str:
    """What waits for somebody to say where it belongs, the oldest first; each customer's together.

    `?show=not-needed`: what somebody said belongs nowhere, the newest first.
    """
    if request.args.get("show") == "not-needed":
        return _not_needed_page()
    conditions = _after(MediaAttachment.sent_at, newer)
    found = filing.unfiled(TRAY_PAGE + 1, *conditions)
    page = found[:TRAY_PAGE]
    return render_template(
        "filing/tray.html",
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
        "filing/not_needed.html",
        page=page,
        titles=_titles([one.conversation for one in page]),
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
    titles = _titles(files)
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
    chosen = _chosen()
    marked = filing.mark_not_needed(chosen.media, the_user())
    db.session.commit()
    goal = _next() or url_for(".tray")
    if not marked:
        flash("Nothing to set aside: these files are filed already.")
        return redirect(goal, 303)
    moment = marked[0].not_needed_at
    assert moment is not None  # noqa: S101 - just now
    _tell(
        f"{_sentence(counted(marked))} marked as not needed.",
        url_for(".needed"),
        at=moment.isoformat(),
        next=goal,
    )
    return redirect(goal, 303)


@bp.post("/unfiled/needed")
def needed() -> Response:
    """They are needed after all: those named, or those marked in one go."""
    media = filing.not_needed_since(_when()) if "at" in request.form else _chosen().media
    back = filing.mark_needed(media, the_user())
    db.session.commit()
    waiting = [one for one in back if one.is_unfiled]
    if waiting:
        flash(f"{_sentence(counted(waiting))} back among the unfiled.")
    elif back:
        flash(f"{_sentence(counted(back))} needed after all.")
    else:
        flash("That was undone already.")
    return redirect(_next() or url_for(".tray"), 303)


# --- What a request names --------------------------------------------------------------------


def _chosen(*, also_put_away: bool = False) -> Chosen:
    """`media`, repeated; where none is ticked, all that were `shown`; or those of a `message`.

    Only what is stored, unless what is damaged or in the trash is meant, too.
    """
    ids = _ids(request.values.getlist("media") or request.values.getlist("shown"))
    if len(ids) > MOST:
        abort(400, f"Choose at most {MOST} files at once.")
    is_wanted: sa.ColumnElement[bool] = MediaAttachment.id.in_(ids)
    if message := request.values.get("message"):
        is_wanted |= MediaAttachment.message_id.in_(_ids([message]))
    if not also_put_away:
        is_wanted &= MediaAttachment.state == MediaAttachment.State.STORED
    found = db.session.scalars(
        sa.select(MediaAttachment)
        .where(is_wanted)
        .order_by(MediaAttachment.sent_at, MediaAttachment.position, MediaAttachment.id)
        .options(joinedload(MediaAttachment.conversation))
    ).all()
    known = {one.id for one in found}
    return Chosen(list(found), sum(one not in known for one in ids))


def _nothing(chosen: Chosen) -> Response:
    """Without files there is nothing to do; say why and go back."""
    flash(
        "None of these files is here yet, so they can't be linked."
        if chosen.left_out or "message" in request.values
        else "Choose at least one photo first.",
        "error",
    )
    return redirect(_next() or url_for("conversations.inbox"), 303)


def _asked_record() -> WorkRecord:
    return _find(next(iter(_ids([request.form.get("record", "")]))))


def _find(record_id: uuid.UUID) -> WorkRecord:
    record = db.session.scalar(
        sa.select(WorkRecord).filter_by(id=record_id).options(joinedload(WorkRecord.conversation))
    )
    if record is None:
        abort(404, "There is no such record.")
    return record


def _ids(words: Iterable[str]) -> list[uuid.UUID]:
    try:
        return list(dict.fromkeys(uuid.UUID(one) for one in words))
    except ValueError:
        abort(400, "That is no file or record of ours.")


def _caption() -> str | None:
    return _short(request.form.get("caption", "")) or None


def _short(words: str) -> str:
    words = _one_line(words)
    if len(words) > LONGEST_CAPTION:
        abort(400, f"A caption has at most {LONGEST_CAPTION} characters.")
    return words


def _one_line(words: str) -> str:
    return " ".join(words.replace("\0", "").split())  # PostgreSQL takes no NUL


def _number(name: str) -> int | None:
    value = request.form.get(name, "")
    return int(value) if re.fullmatch("[0-9]{1,9}", value) else None


def _when() -> datetime:
    return moment_of(request.form.get("at", ""))


def _next() -> str | None:
    wanted = request.values.get("next")
    return local_path(wanted) if wanted else None


def _goal(record: WorkRecord) -> str:
    return _next() or page_of(record)


def _back_to(conversation: Conversation) -> str:
    return _next() or url_for("conversations.show", conversation_id=conversation.id)


def _titles(conversations: Iterable[Conversation]) -> dict[uuid.UUID, str]:
    rows = list(dict.fromkeys(conversations))
    return {one.id: title for one, title in zip(rows, titles_of(rows), strict=True)}


def page_of(record: WorkRecord, anchor: str | None = None, **words: Any) -> str:
    """The address of a record's page."""
    return url_for("work.show", record_id=record.id, _anchor=anchor, **words)


def _make_quote(conversation: Conversation) -> WorkRecord:
    """Raises ValueError for an amount that is none, records.Invalid."""
    form = request.form
    amount = form.get("amount", "").strip()
    return records.create(
        Kind.QUOTE,
        conversation,
        {"title": form.get("title"), "amount": money.cents(amount) if amount else None},
        by=the_user(),
        record_id=_ids([form["quote_id"]])[0] if form.get("quote_id") else None,
    )


# --- Words -----------------------------------------------------------------------------------


def _tell(words: str, undo: str, show: WorkRecord | None = None, **fields: object) -> None:
    """Say what was done, with a button that undoes it; perhaps with a way to the record."""
    page = render_template("filing/_undo.html", words=words, undo=undo, record=show, fields=fields)
    flash(Markup(page))  # noqa: S704 - our own template, which escapes


def _linked_words(chosen: Chosen, new: Sequence[MediaLink], record: WorkRecord) -> str:
    said = f"{_sentence(counted([one.media for one in new]))} linked to {filing.name_of(record)}"
    if any(one != record.conversation for one in chosen.customers):
        said += f", which is {_titles([record.conversation])[record.conversation_id]}’s"
    before = len(chosen.media) - len(new)
    if before:
        said += f"; {before} {'was' if before == 1 else 'were'} linked already"
    if chosen.left_out:
        count = chosen.left_out
        said += f"; {count} {'is' if count == 1 else 'are'} not here yet and left out"
    return f"{said}."


def counted(media: Sequence[MediaAttachment]) -> str:
    """30 photos; 2 photos, 1 voicemail"""
    kinds = Counter(what(one) for one in media)
    return ", ".join(f"{count} {plural(count, kind)}" for kind, count in kinds.items())


def these(media: Sequence[MediaAttachment]) -> str:
    """this photo; these 30 photos; these 3 files, where they are of several kinds"""
    kinds = {what(one) for one in media}
    if len(media) == 1:
        return f"this {kinds.pop()}"
    return f"these {counted(media) if len(kinds) == 1 else f'{len(media)} files'}"


def _all(media: Sequence[MediaAttachment]) -> str:
    return f"{_sentence(counted(media))} {'is' if len(media) == 1 else 'are'}"


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


@bp.app_template_filter()
def age(moment: datetime) -> str:
    """How long ago, in one unit: 5 minutes, 3 days, 2 weeks, 7 months."""
    minutes = max(0, int((now() - moment).total_seconds() // 60))
    for unit, length in (
        ("year", 525_600), ("month", 43_800), ("week", 10_080), ("day", 1_440), ("hour", 60),
    ):  # fmt: skip
        # 13 days say more than 1 week, 36 hours no more than 1 day.
        if minutes >= length * (2 if unit in ("week", "month", "year") else 1):
            count = minutes // length
            return f"{count} {plural(count, unit)}"
    return f"{minutes} {plural(minutes, 'minute')}"


@bp.app_template_filter()
def is_old(moment: datetime) -> bool:
    return now() - moment > OLD


@bp.app_template_filter()
def visit_time(moment: datetime) -> str:
    """Today 2:05 PM, Tomorrow 9:00 AM, Wed, Mar 12, 2:05 PM"""
    then, today = local(moment), local(now()).date()
    days = (then.date() - today).days
    if days in (0, 1):
        return f"{('Today', 'Tomorrow')[days]} {clock(moment)}"
    year = "" if then.year == today.year else f", {then.year}"
    return f"{then:%a, %b} {then.day}{year}, {clock(moment)}"


@bp.app_template_filter()
def record_facts(record: WorkRecord) -> list[str]:
    """What tells it from others: status, amount, time."""
    facts = [record.status.capitalize()]
    if record.amount is not None:
        facts.append(money.dollars(record.amount))
    if record.starts_at is not None:
        facts.append(visit_time(record.starts_at))
    if record.place:
        facts.append(record.place)
    if record.archived_at is not None:
        facts.append("Archived")
    return facts


bp.add_app_template_filter(counted)
bp.add_app_template_filter(these)
bp.add_app_template_filter(filing.name_of, "record_name")
bp.add_app_template_global(page_of, "page_of_record")
