"""Staff pages of share links: create, list with view counts, revoke."""

import uuid
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import sqlalchemy as sa
from flask import Blueprint, abort, flash, redirect, render_template, request, session, url_for
from sqlalchemy.orm import joinedload, selectinload
from werkzeug.wrappers import Response

from viewer.extensions import db, now
from viewer.models import MediaAttachment, Share, ShareItem, WorkRecord
from viewer.models.media import MOST_FILES
from viewer.office import filing, sharing
from viewer.web import confirmation, pagination
from viewer.web.access import Role, needs, the_user
from viewer.web.formatting import local
from viewer.web.layout import absolute_url

bp = Blueprint("manage", __name__, url_prefix="/shares")

PAGE = 40
MANY = 50  # files; a link to more hands out all of a customer, and is asked about again
LASTS = {"1": "1 day", "7": "7 days", "30": "30 days", "90": "90 days", "date": "Until a day"}
STATES = {
    sharing.OPEN: "Open",
    sharing.EXPIRED: "Expired",
    sharing.REVOKED: "Revoked",
    "": "All",
}


@dataclass(slots=True)
class Wish:
    """The form as typed, and its errors by field."""

    title: str = ""
    lasts: str = "30"
    until: str = ""
    passphrase: str = ""
    errors: dict[str, str] = field(default_factory=dict)
    less: dict[uuid.UUID, str] = field(default_factory=dict)  # what does not go out whole

    def expires_at(self) -> datetime | None:
        """Return the time of expiry; None, and an entry in `errors`, if it is invalid."""
        moment = now()
        if self.lasts in LASTS and self.lasts != "date":
            return moment + timedelta(days=int(self.lasts))
        try:
            day = date.fromisoformat(self.until)
            expires_at = sharing.end_of_day(day)
        except (ValueError, OverflowError):
            self.errors["until"] = "Choose the last day on which the link should work."
            return None
        if expires_at <= moment:
            self.errors["until"] = "That day is over. Choose a later one."
        elif expires_at > moment + sharing.LONGEST:
            self.errors["until"] = "A link works for a year at most. Choose an earlier day."
        else:
            return expires_at
        return None

    def check(self) -> None:
        self.title = " ".join(self.title.replace("\0", "").split())
        if not self.title:
            self.errors["title"] = "Give it a title: it stands above the photos."
        elif len(self.title) > sharing.LONGEST_TITLE:
            self.errors["title"] = f"A title has at most {sharing.LONGEST_TITLE} characters."
        length = sharing.passphrase_length(self.passphrase)
        if self.passphrase and not (
            sharing.SHORTEST_PASSPHRASE <= length <= sharing.LONGEST_PASSPHRASE
        ):
            self.errors["passphrase"] = (
                f"A passphrase has {sharing.SHORTEST_PASSPHRASE} to"
                f" {sharing.LONGEST_PASSPHRASE} characters. Leave it empty for none."
            )


@bp.get("")
@needs(Role.OFFICE)
def index() -> str:
    """List share links, newest first: creator, expiry, views."""
    state, whose = request.args.get("show", sharing.OPEN), request.args.get("whose", "")
    if state not in STATES or whose not in ("", "mine"):
        abort(404, "There is no such list.")
    before = request.args.get("before")
    found = sharing.list_shares(
        state,
        the_user() if whose else None,
        pagination.older(Share.created_at, Share.id, before) if before else None,
        PAGE + 1,
    )
    page = found[:PAGE]
    return render_template(
        "sharing/index.html",
        shares=page,
        states=STATES,
        state=state,
        whose=whose,
        older=pagination.next_cursor(found, PAGE, Share.created_at, Share.id),
    )


@bp.route("/new", methods=["GET", "POST"])
@needs(Role.OFFICE)
def new() -> str:
    """Show the form, for selected files (`media`, repeated) or those of a work record (`record`).

    Writes nothing; also by POST, for a selection that exceeds a URL.
    """
    record = _record(request.values.get("record"))
    offered = _offered(request.values.getlist("media"), record)
    wish = Wish(title=_title(offered, record))
    return _form(wish, offered, [one.id for one in offered], record)


@bp.post("")
@needs(Role.OFFICE)
def create() -> Response | tuple[str, int]:
    """Create a share link. Its URL is shown once, on the next page. 422 if the form is invalid."""
    wish = Wish(
        title=request.form.get("title", ""),
        lasts=request.form.get("lasts", ""),
        until=request.form.get("until", ""),
        passphrase=request.form.get("passphrase", ""),
    )
    record = _record(request.form.get("record"))
    chosen = set(_ids(request.form.getlist("media")))
    offered = _offered(request.form.getlist("offered") or request.form.getlist("media"), record)
    files = [one for one in offered if one.id in chosen and sharing.why_not(one) is None]
    wish.check()
    expires_at = wish.expires_at()
    if not files:
        wish.errors["media"] = "Choose at least one file."
    elif len(files) > MOST_FILES:
        wish.errors["media"] = f"A link holds at most {MOST_FILES} files."
    if wish.errors or expires_at is None:
        return _form(wish, offered, list(chosen), record), 422
    if len(files) > MANY:
        confirmation.require()
    user = the_user()
    db.session.commit()  # release the transaction before what is slow: copies, the hash
    wish.less = sharing.less_than_whole(files)
    if set(wish.less) - set(_ids(request.form.getlist("less"))):
        wish.errors["less"] = "Some files do not go out whole."
        return _form(wish, offered, list(chosen), record), 422
    passphrase_hash = sharing.hash_passphrase(wish.passphrase) if wish.passphrase else None
    share, token = sharing.create(
        wish.title, files, expires_at, user, passphrase_hash=passphrase_hash, record=record
    )
    db.session.commit()
    session["share"] = [str(share.id), token]
    return redirect(url_for(".show", share_id=share.id), 303)


@bp.get("/<uuid:share_id>")
@needs(Role.OFFICE)
def show(share_id: uuid.UUID) -> Response:
    """Show a share link: its files, expiry and views; once, after creation, its URL."""
    share = db.session.scalar(
        sa.select(Share)
        .filter_by(id=share_id)
        .options(
            joinedload(Share.created_by),
            joinedload(Share.record),
            selectinload(Share.items).joinedload(ShareItem.media),
        )
    )
    if share is None:
        abort(404, "There is no such link.")
    kept_id, token = session.get("share", (None, None))
    is_due, address = kept_id == str(share.id), None
    if is_due:
        address = absolute_url("sharing.public.page", token=token)
    if address:
        session.pop("share")
    less = {
        item.media_id: words
        for item in share.items
        if item.media.is_stored and (words := sharing.known_as_less(item.media))
    }
    page = render_template(
        "sharing/show.html", share=share, address=address, is_due=is_due, less=less
    )
    response = Response(page, content_type="text/html; charset=utf-8")
    if address:
        response.headers["Cache-Control"] = "no-store"  # shown only once, also with the back button
    return response


@bp.post("/<uuid:share_id>/revocation")
@needs(Role.OFFICE)
def revoke(share_id: uuid.UUID) -> Response:
    """Revoke a share link. Idempotent."""
    share = db.session.get(Share, share_id)
    if share is None:
        abort(404, "There is no such link.")
    sharing.revoke(share, the_user())
    db.session.commit()
    flash("The link is revoked: it opens nothing any more.", "done")
    return redirect(url_for(".show", share_id=share.id), 303)


@bp.app_template_filter()
def calendar_day(moment: datetime) -> str:
    """September 21, 2026"""
    here = local(moment)
    return f"{here:%B} {here.day}, {here.year}"


def _form(
    wish: Wish,
    offered: list[MediaAttachment],
    chosen: list[uuid.UUID],
    record: WorkRecord | None,
) -> str:
    today = local(now()).date()
    return render_template(
        "sharing/new.html",
        wish=wish,
        files=[one for one in offered if sharing.why_not(one) is None],
        left_out=[(one, reason) for one in offered if (reason := sharing.why_not(one))],
        chosen=set(chosen),
        record=record,
        record_name=filing.name_of(record) if record else None,
        lasts=LASTS,
        first_day=today,
        last_day=today + sharing.LONGEST - timedelta(days=1),
        most=MOST_FILES,
        shortest=sharing.SHORTEST_PASSPHRASE,
    )


def _title(offered: list[MediaAttachment], record: WorkRecord | None) -> str:
    """Suggest a title, without customer names: strangers read it."""
    if record is not None:
        name = filing.name_of(record)
        return record.title or name[0].upper() + name[1:]
    kinds = {one.media_type for one in offered if sharing.why_not(one) is None}
    if kinds == {MediaAttachment.MediaType.AUDIO}:
        return "Recordings"
    return "Photos" if kinds <= {MediaAttachment.MediaType.PHOTO} else "Photos and recordings"


def _record(wanted: str | None) -> WorkRecord | None:
    if not wanted:
        return None
    found = _ids([wanted])
    record = db.session.get(WorkRecord, found[0]) if found else None
    if record is None:
        abort(404, "There is no such work record.")
    return record


def _offered(wanted: list[str], record: WorkRecord | None) -> list[MediaAttachment]:
    offered = sharing.choices(_ids(wanted), record)
    if not offered and record is None:
        abort(404, "No file was chosen, or they are not there any more.")
    return offered


def _ids(words: list[str]) -> list[uuid.UUID]:
    """Parse the valid ids, deduplicated; anything else is ignored."""
    found = []
    for word in words:
        try:
            found.append(uuid.UUID(word))
        except ValueError:
            continue
    return list(dict.fromkeys(found))
