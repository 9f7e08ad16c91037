"""Pages of work records: quotes, appointments and invoices, each for a conversation's customer."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from viewer.extensions import db, now
from viewer.models import (
    AuditEntry,
    Conversation,
    MediaAttachment,
    MediaLink,
    SearchEntry,
    User,
    WorkRecord,
)
from viewer.office import audit, customers, evidence, filing, records, worklist
from viewer.plurals import plural
from viewer.search import query
from viewer.web.access import Role, needs, the_user
from viewer.web.formatting import local
from viewer.web.media import slides
from viewer.web.pagination import Cursor
from viewer.web.work.forms import RecordForm, blank, filled, read_day
from viewer.web.work.linking import link_along
from viewer.web.work.selection import find_record

bp = Blueprint("records", __name__)

Kind = WorkRecord.Kind
Status = WorkRecord.Status
Answer = str | Response | tuple[str, int]

# By URL segment: the kind, its singular, its plural.
KINDS = {
    "quotes": (Kind.QUOTE, "quote", "Quotes"),
    "appointments": (Kind.APPOINTMENT, "appointment", "Appointments"),
    "invoices": (Kind.INVOICE, "invoice", "Invoices"),
}
WORDS = {kind: word for word, (kind, _, _) in KINDS.items()}
_KIND = "any(quotes,appointments,invoices):word"

SHOWN = {worklist.OPEN: "Open", worklist.ALL: "All", worklist.ARCHIVED: "Archived"}
# Button labels of the status transitions, forwards and back.
STEPS = {
    (Kind.QUOTE, Status.SENT): "Mark as sent",
    (Kind.QUOTE, Status.APPROVED): "Approved",
    (Kind.QUOTE, Status.DECLINED): "Declined",
    (Kind.QUOTE, Status.DRAFT): "Back to draft",
    (Kind.APPOINTMENT, Status.DONE): "Done",
    (Kind.APPOINTMENT, Status.CANCELED): "Canceled",
    (Kind.APPOINTMENT, Status.PLANNED): "Back to planned",
    (Kind.INVOICE, Status.SENT): "Mark as sent",
    (Kind.INVOICE, Status.PAID): "Paid",
    (Kind.INVOICE, Status.VOID): "Void",
    (Kind.INVOICE, Status.DRAFT): "Back to draft",
}
ALONG = ("media", "caption")  # form fields of files to link to a new record
CUSTOMERS = 12  # offered to choose from; the others are found by search
HISTORY = 50  # entries


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a list of records."""

    record: WorkRecord
    customer: str
    files: list[str]  # a text per kind: "3 photos"

    def facts(self, *, hides_customer: bool = False) -> str:
        """Summarize the record, without its name and status."""
        place = self.record.place if self.record.starts_at else None
        return " · ".join(
            filter(None, ("" if hides_customer else self.customer, place, *self.files))
        )


# --- The list ------------------------------------------------------------------------------


@bp.get("/work", defaults={"word": None})
@bp.get(f"/work/<{_KIND}>")
def index(word: str | None) -> str:
    """List work records of all kinds or of one; open ones by default."""
    kind = KINDS[word][0] if word else None
    conversation = _customer(request.args.get("customer"))
    typed = request.args.get("q", "").strip()
    is_narrow = bool(typed or conversation)
    show = request.args.get("show") or (worklist.ALL if is_narrow else worklist.OPEN)
    if show not in worklist.filter_choices(kind):
        abort(404, "There is no such filter.")
    wanted = worklist.Wanted(kind, show, query.read_terms(typed) if typed else None, conversation)
    page, after = _page(wanted)
    kept = {"q": typed or None, "customer": conversation.id if conversation else None}
    return render_template(
        "work/index.html",
        lines=_lines(page.records),
        after=after,
        is_first="after" not in request.args,
        word=word,
        kinds=[(None, "All"), *((one, many) for one, (_, _, many) in KINDS.items())],
        singular=KINDS[word][1] if word else None,
        chips=[(one, SHOWN.get(one) or one.capitalize()) for one in worklist.filter_choices(kind)],
        show=show,
        typed=typed,
        kept={name: value for name, value in kept.items() if value},
        customer=customers.customer_of(conversation) if conversation else None,
    )


@bp.get("/conversations/<uuid:conversation_id>/work")
def of_conversation(conversation_id: uuid.UUID) -> str:
    """List all work records of this customer, also closed and planned ones."""
    conversation = _customer(str(conversation_id))
    assert conversation is not None  # noqa: S101 - or it is a 404
    wanted = worklist.Wanted(show=worklist.ALL, conversation=conversation)
    page, after = _page(wanted)
    return render_template(
        "work/of_conversation.html",
        conversation=conversation,
        customer=customers.customer_of(conversation),
        lines=_lines(page.records),
        after=after,
        kinds=KINDS,
    )


def _page(wanted: worklist.Wanted) -> tuple[worklist.Page, str | None]:
    """Load the page that the query asks for, and the cursor of the next one."""
    after = request.args.get("after")
    key = None if after is None else Cursor.decode(after, wanted.sort_key).key
    page = worklist.read_page(wanted, key)
    return page, Cursor(*page.last).encode() if page.last else None


def _lines(found: Sequence[WorkRecord]) -> list[Row]:
    called = customers.customers_by_id([record.conversation for record in found])
    counts = worklist.count_files(found)
    return [
        Row(
            record,
            called[record.conversation_id].name,
            [
                f"{count}\N{NO-BREAK SPACE}{plural(count, word)}"
                for word, count in counts.get(record.id, {}).items()
            ],
        )
        for record in found
    ]


# --- A record ------------------------------------------------------------------------------


@bp.get("/work/<uuid:record_id>")
def show(record_id: uuid.UUID) -> str:
    """Show a record: its fields, possible transitions, linked files, evidence, history."""
    record = find_record(record_id)
    links = filing.links_of(record)
    kept = evidence.snapshots_of(record)
    return render_template(
        "work/show.html",
        record=record,
        word=WORDS[record.kind],
        customer=customers.customer_of(record.conversation),
        links=links,
        steps=[(status, STEPS[record.kind, status]) for status in records.steps_of(record)],
        describe_action=audit.describe_action_here,
        kept=kept,
        difference=evidence.difference(kept[0], links)
        if kept and record.status is not Status.DRAFT
        else None,
        history=_history(record),
        today=local(now()).date(),
        missing=records.missing_to_send(record),
    )


@bp.get("/work/<uuid:record_id>/slides")
def pictures(record_id: uuid.UUID) -> Any:
    """Return the record's photos and videos, for the lightbox."""
    record = find_record(record_id)
    return slides.answer(MediaAttachment.links.any(MediaLink.record_id == record.id))


@bp.post("/work/<uuid:record_id>/status")
@needs(Role.OFFICE)
def step(record_id: uuid.UUID) -> Response:
    """Change the status to `status`, if the transition is allowed. Idempotent.

    A quote or invoice without a title or an amount is sent with `unfinished=yes` only.
    """
    record = find_record(record_id, to_change=True)
    before = record.status
    try:
        status = Status(request.form.get("status", ""))
    except ValueError:
        abort(400, "There is no such status.")
    typed = request.form.get("sent_on", "").strip()
    try:
        sent_on = read_day(typed) if typed else None
        records.take_step(
            record,
            status,
            by=the_user(),
            sent_on=sent_on,
            unfinished=request.form.get("unfinished") == "yes",
        )
    except (records.OutOfStep, records.Unfinished, records.Invalid, ValueError) as reason:
        db.session.rollback()
        flash(str(reason), "error")
        return redirect(url_for(".show", record_id=record_id), 303)
    db.session.commit()
    if record.status is not before:
        flash(f"{records.describe(record)} is {record.status} now.", "done")
    return redirect(url_for(".show", record_id=record.id), 303)


@bp.post("/work/<uuid:record_id>/archive")
@needs(Role.OFFICE)
def archive(record_id: uuid.UUID) -> Response:
    """Archive a record. Idempotent."""
    record = find_record(record_id, to_change=True)
    records.archive(record)
    db.session.commit()
    flash(f"{records.describe(record)} is archived. A search still finds it.", "done")
    return redirect(url_for(".show", record_id=record.id), 303)


@bp.post("/work/<uuid:record_id>/unarchive")
@needs(Role.OFFICE)
def unarchive(record_id: uuid.UUID) -> Response:
    """Unarchive a record. Idempotent."""
    record = find_record(record_id, to_change=True)
    records.unarchive(record)
    db.session.commit()
    flash(f"{records.describe(record)} is back from the archive.", "done")
    return redirect(url_for(".show", record_id=record.id), 303)


def _history(record: WorkRecord) -> list[tuple[AuditEntry, str]]:
    """Load the record's audit log, newest first, each entry with the name of the user."""
    rows = db.session.execute(
        sa.select(AuditEntry, User.name)
        .outerjoin(User, User.id == AuditEntry.user_id)
        .where(AuditEntry.subject_id == record.id)
        .order_by(AuditEntry.at.desc(), AuditEntry.id.desc())
        .limit(HISTORY)
    )
    return [(entry, name or entry.who) for entry, name in rows]


# --- Writing -------------------------------------------------------------------------------


@bp.route(f"/work/<{_KIND}>/new", methods=["GET", "POST"])
@needs(Role.OFFICE)
def new(word: str) -> str:
    """Show the form for a new record; first the choice of a customer, if none is given.

    A POST carries along files to link.
    """
    conversation = _customer(request.values.get("conversation"))
    kind = KINDS[word][0]
    if conversation is None:
        return _choose_customer(word, request.args.get("q", ""), kept=[])
    form = blank(kind)
    form["id"].data, form["conversation"].data = str(uuid.uuid4()), str(conversation.id)
    if "number" in form:
        form["number"].data = records.next_number(kind)
    return _form(form, conversation)


@bp.post(f"/work/<{_KIND}>")
@needs(Role.OFFICE)
def create(word: str) -> Answer:
    """Create a record. Idempotent by the form's `id`: a double submit, or going back to correct it,
    makes no second record. 422 if invalid, 409 on an edit conflict.
    """
    kind = KINDS[word][0]
    form = blank(kind)
    conversation = _customer(form["conversation"].data)
    if conversation is None:
        abort(400, "A record needs its customer.")
    record_id = _uuid(form["id"].data)
    try:
        record = records.create(
            kind, conversation, form.checked(), by=the_user(), record_id=record_id
        )
    except records.Invalid as invalid:
        form.refuse(invalid.errors)
        return _form(form, conversation), 422
    except records.Overtaken as other:
        return _overtaken(form, find_record(record_id), conversation, other)
    link_along(record)
    db.session.commit()
    flash(f"{records.describe(record)} is saved.", "done")
    return redirect(url_for(".show", record_id=record.id), 303)


@bp.get("/work/<uuid:record_id>/edit")
@needs(Role.OFFICE)
def edit(record_id: uuid.UUID) -> str:
    record = find_record(record_id)
    return _form(filled(record), record.conversation, record)


@bp.post("/work/<uuid:record_id>")
@needs(Role.OFFICE)
def save(record_id: uuid.UUID) -> Answer:
    """Save an edited record, with optimistic locking: 409 if somebody else has changed it since.

    The form's `seen` is the version it was based on, so no change is overwritten unseen.
    """
    record = find_record(record_id, to_change=True)
    form = filled(record)
    conversation = _customer(form["conversation"].data) or record.conversation
    try:
        records.change(record, form.checked(), conversation=conversation, seen=form["seen"].data)
    except records.Invalid as invalid:
        form.refuse(invalid.errors)
        return _form(form, conversation, record), 422
    except records.Overtaken as other:
        return _overtaken(form, record, conversation, other)
    db.session.commit()
    flash(f"{records.describe(record)} is saved.", "done")
    return redirect(url_for(".show", record_id=record.id), 303)


def _overtaken(
    form: RecordForm, record: WorkRecord, conversation: Conversation, other: records.Overtaken
) -> Answer:
    """Respond 409 with the typed values beside the saved ones; saving again then overwrites."""
    theirs = _theirs(form, record, conversation)
    form["seen"].data = records.version_of(record)
    return _form(form, conversation, record, overtaken=other, theirs=theirs), 409


def _theirs(form: RecordForm, record: WorkRecord, conversation: Conversation) -> dict[str, str]:
    """Return the saved values of the fields that differ from what was typed."""
    typed = form.checked()
    found = {
        name: records.show_value(getattr(record, name))
        for name in form.names()
        if typed[name] != getattr(record, name)
    }
    if conversation.id != record.conversation_id:
        found["conversation"] = customers.customer_of(record.conversation).name
    return found


def _form(
    form: RecordForm,
    conversation: Conversation,
    record: WorkRecord | None = None,
    *,
    overtaken: records.Overtaken | None = None,
    theirs: dict[str, str] | None = None,
) -> str:
    return render_template(
        "work/form.html",
        form=form,
        word=WORDS[form.kind],
        record=record,
        customer=customers.customer_of(conversation),
        visits=records.VISITS,
        zone=f"{local(now()):%Z}",
        overtaken=overtaken,
        theirs=theirs or {},
        along=request.form.getlist("media"),
    )


# --- Choice of the customer ----------------------------------------------------------------


@bp.post(f"/work/<{_KIND}>/customer")
@needs(Role.OFFICE)
def choose_customer(word: str) -> str:
    """Choose another customer; carries along what was typed so far."""
    form = blank(KINDS[word][0])
    along = [(name, one) for name in ALONG for one in request.form.getlist(name)]
    return _choose_customer(word, request.form.get("q", ""), kept=form.kept() + along)


@bp.post(f"/work/<{_KIND}>/form")
@needs(Role.OFFICE)
def go_on(word: str) -> str:
    """Return to the form with the chosen customer."""
    form = blank(KINDS[word][0])
    chosen = request.form.get("customer")
    conversation = _customer(chosen or form["conversation"].data)
    if conversation is None:
        abort(400, "A record needs its customer.")
    form["conversation"].data = str(conversation.id)
    # An edited record has a version (`seen`), a new one has none.
    record_id = _uuid(form["id"].data) if form["seen"].data else None
    return _form(form, conversation, records.find_record(record_id) if record_id else None)


def _choose_customer(word: str, typed: str, kept: list[tuple[str, str]]) -> str:
    return render_template(
        "work/customer.html",
        word=word,
        singular=KINDS[word][1],
        typed=typed,
        kept=kept,
        found=_customers(typed),
    )


def _customers(typed: str) -> list[customers.Customer]:
    """List the customers with the latest messages; with a search text, those that match it."""
    wanted = sa.select(Conversation)
    if typed.strip():
        ids = query.search(query.read_terms(typed), people=True, limit=CUSTOMERS)
        wanted = wanted.join(SearchEntry, SearchEntry.conversation_id == Conversation.id).where(
            SearchEntry.id.in_(ids)
        )
    rows = db.session.scalars(
        wanted.order_by(Conversation.latest_at.desc(), Conversation.id.desc()).limit(CUSTOMERS)
    ).all()
    called = customers.customers_by_id(rows)
    return [called[row.id] for row in rows]


# --- Parsing of the request ----------------------------------------------------------------


def _customer(wanted: str | None) -> Conversation | None:
    """Load the conversation of this id; None without an id. Aborts with 400 or 404."""
    if not wanted:
        return None
    conversation = Conversation.find(_uuid(wanted))
    if conversation is None:
        abort(404, "There is no such conversation.")
    return conversation


def _uuid(words: str | None) -> uuid.UUID:
    try:
        return uuid.UUID(words or "")
    except ValueError:
        abort(400, "That is no id of ours.")
