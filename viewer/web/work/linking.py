"""Link files to work records: choose a record, link, unlink, pick and arrange files."""

import uuid
from collections.abc import Iterable, Sequence

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from viewer.extensions import db
from viewer.models import Conversation, MediaAttachment, MediaLink, WorkRecord
from viewer.office import captions, filing, money, records, worklist
from viewer.search import query
from viewer.web.access import Role, needs, the_user
from viewer.web.pagination import next_cursor, older
from viewer.web.undo import flash_with_undo
from viewer.web.work.selection import (
    Chosen,
    asked_record,
    back_to,
    chosen_files,
    find_record,
    goal_of,
    nothing_chosen,
    read_caption,
    read_ids,
    read_moment,
    read_number,
    short_caption,
    titles_by_id,
)
from viewer.web.work.wording import all_of_them, counted, page_of, sentence

bp = Blueprint("linking", __name__)

PICK_PAGE = 60

Kind = WorkRecord.Kind
Answer = str | Response | tuple[str, int]


# --- Choosing the record ---------------------------------------------------------------------


@bp.route("/work/link/choose", methods=["GET", "POST"])
def choose() -> Answer:
    """Show the records that these files may be linked to. By POST if the ids exceed a URL."""
    return _choose({})


def _choose(errors: dict[str, str]) -> Answer:
    chosen = chosen_files()
    if not chosen.media:
        return nothing_chosen(chosen)
    words = captions.one_line(request.values.get("q", ""))[:100]
    own = filing.suggestions(chosen.media)
    others = (
        filing.as_suggestions(_found(words), chosen.media)
        if words
        else filing.suggestions_elsewhere(chosen.media)
    )
    customers = chosen.customers
    titles = titles_by_id([*customers, *(one.record.conversation for one in others)])
    page = render_template(
        "work/choose.html",
        chosen=chosen,
        customers=customers,
        titles=titles,
        suggestions=own,
        others=others,
        q=words,
        errors=errors,
        typed=request.values,
        next=request.values.get("next", ""),
        back=back_to(customers[0]),
        quote_id=request.form.get("quote_id") or uuid.uuid4(),
    )
    return (page, 422) if errors else page


def _found(words: str) -> Sequence[WorkRecord]:
    wanted = worklist.Wanted(show=worklist.ALL, terms=query.read_terms(words))
    return worklist.read_page(wanted).records


@bp.post("/work/link")
def link() -> Response:
    """Link files to a record. Idempotent. 409 if a file was moved to the trash meanwhile."""
    record, chosen = asked_record(), chosen_files()
    if not chosen.media:
        return nothing_chosen(chosen)
    try:
        new = filing.link(
            chosen.media, record, the_user(), read_caption(), position=read_number("position")
        )
    except filing.NotStored:
        abort(409, "One of these files was put away just now. Nothing was linked.")
    if request.form.get("cover") and new:
        filing.set_cover(record, new[0].media_id)
    db.session.commit()
    goal = goal_of(record)
    if not new:
        flash(f"{all_of_them(chosen.media)} linked to {filing.name_of(record)} already.")
        return redirect(goal, 303)
    flash_with_undo(
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
    """Undo one bulk link of this user, made at the time `at`. Earlier links stay. Idempotent."""
    record = asked_record()
    media = filing.media_linked_at(record, read_moment(), the_user())
    gone = filing.unlink(media, record, the_user())
    db.session.commit()
    flash(
        f"Undone: {counted(gone)} no longer linked to {filing.name_of(record)}."
        if gone
        else "That was undone already."
    )
    return redirect(goal_of(record), 303)


@bp.post("/work/link/quote")
@needs(Role.OFFICE)
def new_quote() -> Answer:
    """Create a quote and link these files to it. Idempotent by `quote_id`: no second quote."""
    chosen = chosen_files()
    if not chosen.media:
        return nothing_chosen(chosen)
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
    new = filing.link(chosen.media, record, the_user(), read_caption())
    db.session.commit()
    made = f"made from {counted([one.media for one in new])}" if new else "is saved"
    flash(f"{filing.name_of(record)} {made}.")
    return redirect(page_of(record), 303)


def link_along(record: WorkRecord) -> None:
    """Link the files that the form of a new record carries along. Does not commit."""
    if chosen := chosen_files().media:
        filing.link(chosen, record, the_user(), read_caption())


@bp.post("/work/unlink")
def unlink() -> Response:
    """Unlink files from a record, also damaged or trashed ones. Idempotent."""
    record, chosen = asked_record(), chosen_files(also_put_away=True)
    goal = goal_of(record)
    _unlink(chosen.media, record, goal)
    return redirect(goal, 303)


def _unlink(media: Sequence[MediaAttachment], record: WorkRecord, goal: str) -> None:
    """Unlink, commit, and offer an undo that restores position, caption and cover.

    No undo if a file is damaged or in the trash: it could not be linked again.
    """
    cover = record.cover_id
    old = {one.media_id: one for one in filing.links_of(record)}
    gone = filing.unlink(media, record, the_user())
    db.session.commit()
    if not gone:
        flash(f"That was not linked to {filing.name_of(record)} any more.")
        return
    words = f"{sentence(counted(gone))} unlinked from {filing.name_of(record)}."
    if not all(one.is_stored for one in gone):
        flash(words, "done")
        return
    first = old.get(gone[0].id)
    flash_with_undo(
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
    """Pick from the files of the customer, newest first, to link them to a record.

    Paginated by POST, to carry along the files ticked on this page.
    """
    record = find_record(record_id)
    cursor, key = request.args.get("before"), (MediaAttachment.sent_at, MediaAttachment.id)
    conditions = [older(*key, cursor)] if cursor else []
    found = filing.list_pickable(record, PICK_PAGE + 1, *conditions)
    page = found[:PICK_PAGE]
    shown = {one.id for one in page}
    ticked = read_ids(request.form.getlist("media"))
    return render_template(
        "work/pick.html",
        record=record,
        title=titles_by_id([record.conversation])[record.conversation_id],
        page=page,
        linked={one.media_id for one in filing.links_of(record)},
        ticked=set(ticked) & shown,
        elsewhere=[one for one in ticked if one not in shown],
        older=next_cursor(found, PICK_PAGE, *key),
        is_first=cursor is None,
    )


@bp.post("/work/<uuid:record_id>/files")
def arrange(record_id: uuid.UUID) -> Response:
    """Save the order and captions of a record's files, then apply the button that was pressed."""
    record, form = find_record(record_id), request.form
    links = {str(one.id): one for one in filing.links_of(record)}
    if order := read_ids(form.getlist("link")):
        filing.reorder_links(record, order)
    for link_id, one in links.items():
        typed = form.get(f"caption-{link_id}")
        # Only a caption edited here: a colleague may have changed the others meanwhile.
        if typed is not None and typed != form.get(f"was-{link_id}"):
            filing.set_caption(one, short_caption(typed), the_user())
    pressed, link_id = _pressed(("earlier", "later", "cover", "remove"))
    target = links.get(link_id)
    if target is not None and pressed in ("earlier", "later"):
        filing.move_link(record, target.id, -1 if pressed == "earlier" else 1)
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


def _make_quote(conversation: Conversation) -> WorkRecord:
    """Raises ValueError for an invalid amount, records.Invalid and records.Overtaken."""
    form = request.form
    amount = form.get("amount", "").strip()
    return records.create(
        Kind.QUOTE,
        conversation,
        {"title": form.get("title"), "amount": money.cents(amount) if amount else None},
        by=the_user(),
        record_id=read_ids([form["quote_id"]])[0] if form.get("quote_id") else None,
    )


def _linked_words(chosen: Chosen, new: Sequence[MediaLink], record: WorkRecord) -> str:
    said = f"{sentence(counted([one.media for one in new]))} linked to {filing.name_of(record)}"
    if any(one != record.conversation for one in chosen.customers):
        said += f", which is {titles_by_id([record.conversation])[record.conversation_id]}’s"
    before = len(chosen.media) - len(new)
    if before:
        said += f"; {before} {'was' if before == 1 else 'were'} linked already"
    if chosen.left_out:
        said += f"; {chosen.left_out} left out: only files that are here can be linked"
    return f"{said}."
