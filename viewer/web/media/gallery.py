"""The gallery: all files of a conversation or of the company as tiles, and bulk actions on them."""

import itertools
import uuid
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import sqlalchemy as sa
from flask import (
    Blueprint,
    Response,
    abort,
    flash,
    jsonify,
    redirect,
    render_template,
    request,
)
from sqlalchemy.orm import joinedload
from werkzeug.wrappers import Response as BaseResponse

from viewer import quo
from viewer.extensions import db
from viewer.models import Conversation, MediaAttachment, Message, User
from viewer.models.media import MOST_FILES
from viewer.office import audit
from viewer.office.names import names_of, title_of
from viewer.plurals import counted, plural
from viewer.web import access
from viewer.web.formatting import local
from viewer.web.media import slides, tiles, zips
from viewer.web.media.gallery_filters import FILED, KINDS, STATES, US, Narrowing
from viewer.web.pagination import Cursor, next_cursor
from viewer.web.redirects import find_conversation
from viewer.web.urls import url_for
from viewer.web.wording import availability, explanation, what

bp = Blueprint("gallery", __name__)

PAGE = 48  # divisible by 2, 3, 4 and 6: the last row of the grid is full
COUNTED = 500  # counting stops there: "500+"

Role, State, MediaType = MediaAttachment.Role, MediaAttachment.State, MediaAttachment.MediaType


@dataclass(frozen=True, slots=True)
class Action:
    """A bulk action on the selected files: a button that submits their ids."""

    endpoint: str
    words: str
    icon: str
    role: User.Role = User.Role.FIELD

    @property
    def url(self) -> str:
        return url_for(self.endpoint)


ACTIONS = (
    Action("work.linking.choose", "Link to work", "linked"),
    Action("media.gallery.zip", "Download", "download"),
    Action("sharing.manage.new", "Share", "share", access.Role.OFFICE),
    Action("work.unfiled.not_needed", "Not needed", "remove"),
)


@bp.get("/photos")
def everything() -> str:
    """Show the files of all conversations, newest first."""
    return _show(Narrowing.read(request.args))


@bp.get("/conversations/<uuid:conversation_id>/photos")
def of_conversation(conversation_id: uuid.UUID) -> str:
    """Show the files of one conversation, newest first."""
    return _show(Narrowing.read(request.args, find_conversation(conversation_id)))


@bp.get("/photos/ids")
def ids() -> Response:
    """Return the ids of all selectable files under these filters, newest first, as JSON.

    At most `MOST_FILES`; `more` tells that there are others.
    """
    query = (
        tiles.newest_first(sa.select(MediaAttachment.id), _narrowing().conditions())
        .where(MediaAttachment.state == State.STORED)
        .limit(MOST_FILES + 1)
    )
    found = db.session.scalars(query).all()
    return jsonify(ids=[str(one) for one in found[:MOST_FILES]], more=len(found) > MOST_FILES)


@bp.get("/photos/slides")
def pictures() -> Response:
    """Return the photos and videos under these filters, for the lightbox."""
    return slides.answer(*_narrowing().conditions(), newest_first=True)


@bp.post("/photos/zip", endpoint="zip")
def download() -> BaseResponse:
    """Download the originals of the selected files, or of a whole conversation, as a ZIP."""
    media = _chosen()
    if not media:
        flash("Select at least one file first.", "error")
        return redirect(access.local_path(request.form.get("next") or url_for(".everything")), 303)
    names = names_of(itertools.chain.from_iterable(one.conversation.numbers for one in media))
    titles = {one.conversation_id: title_of(one.conversation, names) for one in media}
    is_one = len(titles) == 1
    entries = [_entry(one, "" if is_one else titles[one.conversation_id]) for one in media]
    newest = f"{local(media[-1].sent_at):%Y-%m-%d}"
    answer = zips.answer(
        entries, f"{next(iter(titles.values())) if is_one else 'Photos'} {newest}.zip"
    )
    subject = ("conversation", media[0].conversation_id) if is_one else None
    words = f"{counted(len(media), 'file')} as a ZIP"
    audit.note("download", words, subject=subject)
    db.session.commit()
    return answer


def _narrowing() -> Narrowing:
    """Parse the filters of a URL that has the conversation as a query parameter."""
    conversation = None
    if conversation_id := request.args.get("conversation_id"):
        conversation = db.get_or_404(Conversation, _uuid(conversation_id))
    narrowing = Narrowing.read(request.args, conversation)
    if narrowing.span.problem:
        # No page shows the problem here: ignoring the date would select more than was meant.
        abort(400, narrowing.span.problem)
    return narrowing


def _show(narrowing: Narrowing) -> str:
    conversation = narrowing.conversation
    cursor = request.args.get("before")
    key = Cursor.decode(cursor, slides.ORDER).key if cursor else None
    found, count = tiles.read_page(narrowing, key, size=PAGE + 1, most=COUNTED + 1)
    page, older = found[:PAGE], next_cursor(found, PAGE, *slides.ORDER)
    numbers = set(conversation.numbers if conversation else ())
    for one in page:
        numbers.update(one.numbers, filter(None, [one.sender]))
    names = names_of(numbers)
    by, groups = tiles.grouped(page, names, conversation, request.args.get("by"))
    endpoint = ".of_conversation" if conversation else ".everything"
    here: dict[str, Any] = {"conversation_id": conversation.id} if conversation else {}
    return render_template(
        "media/gallery.html",
        conversation=conversation,
        title=title_of(conversation, names) if conversation else "Photos",
        groups=groups,
        narrowing=narrowing,
        chosen=narrowing.chosen(names),
        kinds={"": "All", **{word: words for word, (words, _) in KINDS.items()}},
        filed=FILED,
        states=STATES,
        senders=_senders(conversation, names),
        count=_count_words(count, narrowing.kind),
        link=lambda **changes: url_for(endpoint, **{**here, **narrowing.address(**changes)}),
        older={"before": older, "by": by} if older else None,
        is_newest="before" not in request.args,
        is_all_selected="all" in request.args.getlist("select"),
        ids=url_for(".ids", **{**here, **narrowing.address()}),
        slides=url_for(".pictures", **{**here, **narrowing.address()}),
        actions=[one for one in ACTIONS if access.the_user().role.covers(one.role)],
    )  # fmt: skip


def _count_words(count: int, kind: str) -> str:
    """Describe the number of matching files; counting stops at `COUNTED`."""
    word = {"photos": "photo", "videos": "video", "documents": "document"}.get(kind, "file")
    if count > COUNTED:
        return f"{COUNTED:,}+ {plural(COUNTED, word)}"
    return counted(count, word)


def _senders(conversation: Conversation | None, names: dict[str, str]) -> dict[str, str]:
    """List the senders to filter by in a group's gallery; empty if there is only one."""
    if conversation is None or len(conversation.numbers) < 2:
        return {}
    people = {number: names.get(number) or quo.display(number) for number in conversation.numbers}
    return {**people, US: "Us"}


def _chosen() -> list[MediaAttachment]:
    """Load the files that the form names, or all of the conversation it names, oldest first."""
    query = (
        sa.select(MediaAttachment)
        .where(MediaAttachment.is_listed())
        .order_by(MediaAttachment.sent_at, MediaAttachment.position, MediaAttachment.id)
        .options(
            joinedload(MediaAttachment.message).load_only(Message.sender),
            joinedload(MediaAttachment.conversation),
        )
    )
    wanted = request.form.getlist("media")
    if wanted:
        query = query.where(MediaAttachment.id.in_({_uuid(one) for one in wanted}))
    elif conversation_id := request.form.get("conversation_id"):
        query = query.filter_by(conversation_id=_uuid(conversation_id))
    else:
        return []
    return list(db.session.scalars(query))


def _uuid(words: str) -> uuid.UUID:
    try:
        return uuid.UUID(words)
    except ValueError:
        abort(400, "That is no file of ours.")


def _entry(media: MediaAttachment, folder: str) -> zips.Entry:
    """Build the ZIP entry of a file, named by its time and kind."""
    path = PurePosixPath(media.file_path)
    word = f"{what(media)} {media.position + 1}"
    if media.media_type is MediaType.DOCUMENT and media.file_name:
        word = PurePosixPath(media.file_name).stem
    name = zips.safe_name(f"{local(media.sent_at):%Y-%m-%d %H.%M.%S} {word}{path.suffix}")
    problem = None
    if not media.is_stored:
        why = explanation(media)
        problem = availability(media).lower() + (f": {why}" if why else "")
    return zips.Entry(media, f"{zips.safe_name(folder)}/{name}" if folder else name, problem)
