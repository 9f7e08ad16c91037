"""JSON for the lightbox: the photos and videos of a list, with keyset pagination."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, Response, abort, jsonify, request
from sqlalchemy.orm import InstrumentedAttribute, joinedload, load_only, selectinload

from viewer import derive, quo
from viewer.extensions import db, now
from viewer.models import MediaAttachment, MediaLink, Message
from viewer.models.indexes import beyond
from viewer.office import filing
from viewer.office.names import names_of
from viewer.web.access import Role, the_user
from viewer.web.date_range import read_moment
from viewer.web.formatting import clock, day, exact_time, local
from viewer.web.pagination import Cursor
from viewer.web.redirects import find_conversation
from viewer.web.urls import url_for
from viewer.web.wording import plays

bp = Blueprint("slides", __name__)

PAGE = 40
REACH = 500  # slides on either side of the one that was opened; a longer list is a window of those

Media = MediaAttachment
# Keyset: by time; photos of one message in the order they were sent.
ORDER: tuple[InstrumentedAttribute[Any], ...] = (
    Media.sent_at,
    Media.message_id,
    Media.position,
    Media.id,
)
Condition = sa.ColumnElement[bool]


@bp.get("/conversations/<uuid:conversation_id>/slides")
def of_conversation(conversation_id: uuid.UUID) -> Response:
    """Return one page of a conversation's photos and videos; parameters as in `answer`."""
    find_conversation(conversation_id)
    return answer(Media.conversation_id == conversation_id)


def answer(*conditions: Condition, newest_first: bool = False) -> Response:
    """Return the page of slides that the query asks for, of the media that match `conditions`.

    `?around=<id>` centers on a slide, `?before=` and `?after=` continue from a page, `?at=end` is
    the last page. With the `as_of` and the `anchor` of the first response the list is stable while
    photos arrive. `first` is the 1-based index of the first slide. Aborts with 404 for a slide not
    in the list.

    The list ends `REACH` slides before and behind the anchor: to count all of a list takes as long
    as the list is. `is_whole` says whether these are all.
    """
    moment = _as_of()
    wanted = (
        *conditions,
        Media.state.in_((Media.State.STORED, Media.State.DAMAGED)),
        # NOT IN instead of IN, so that both databases walk the index that has the list's order.
        Media.media_type.not_in((Media.MediaType.AUDIO, Media.MediaType.DOCUMENT)),
        Media.thumbnail_path.is_not(None),
        Media.downloaded_at <= moment,
    )
    wish = request.args.get("anchor") or request.args.get("around")
    anchor = _media_at(wish, ()) if wish else None
    edges: list[Condition] = [] if anchor is None else _edges(anchor, wanted)
    found = _slides_asked([*wanted, *edges], newest_first=newest_first)
    if anchor is None and found:
        anchor = found[-1 if request.args.get("at") == "end" else 0]
        edges = _edges(anchor, wanted)
    within = [*wanted, *edges]
    first = _count(*within, _beyond(found[0], forward=newest_first)) + 1 if found else 0
    total = _count(*within)
    response = jsonify(
        total=total,
        is_whole=not edges,
        anchor=anchor.id if anchor else None,
        first=first,
        before=found[0].id if first > 1 else None,
        after=found[-1].id if found and first + len(found) - 1 < total else None,
        as_of=moment.isoformat(),
        slides=describe_all(found),
    )
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def describe_all(media: Sequence[MediaAttachment]) -> list[dict[str, Any]]:
    """Describe slides, with the names of their senders, loaded in one query."""
    names = names_of({one.message.sender for one in media if one.message.sender})
    return [describe(one, names) for one in media]


def describe(media: MediaAttachment, names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Describe one slide. Reads `message` and `links.record`: eager-load them with `LOADED`."""
    sender = sender_of(media, names or {})
    kind = media.media_type.value
    may_share = media.is_stored and the_user().role.covers(Role.OFFICE)
    return {
        "id": str(media.id),
        "kind": kind,
        "placeholder": media.placeholder,
        "thumbnail": url_for("media.files.thumbnail", media_id=media.id),
        "preview": url_for(f"media.files.{_screen_sized(media)}", media_id=media.id),
        "full": _full(media),
        "video": url_for("media.files.playable", media_id=media.id)
        if kind == "video" and media.is_stored and plays(media)
        else None,
        "width": media.width,
        "height": media.height,
        "alt": media.caption or f"{kind.capitalize()} from {sender}",
        "sender": sender,
        "time": f"{day(local(media.sent_at).date())}, {clock(media.sent_at)}",
        "exact_time": exact_time(media.sent_at),
        "caption": media.caption,
        "message": f"message-{media.message_id}",
        "message_url": url_for("conversations.pages.at_message", message_id=media.message_id),
        "problem": f"Original damaged. {media.problem or ''}" if media.is_damaged else None,
        "download_url": url_for("media.files.original", media_id=media.id, download=1)
        if media.is_stored
        else None,
        "page_url": url_for("media.details.passport", media_id=media.id),
        "link_url": url_for("work.linking.choose", media=media.id) if media.is_stored else None,
        "share_url": url_for("sharing.manage.new", media=media.id) if may_share else None,
        "uses": [
            {
                "label": filing.name_of(link.record),
                "url": url_for("work.records.show", record_id=link.record_id),
            }
            for link in media.links
        ],
    }


# Only the columns that a slide shows: all of them take twice as long.
LOADED = (
    load_only(
        Media.conversation_id, Media.message_id, Media.position, Media.media_type, Media.state,
        Media.problem, Media.mime_type, Media.file_name, Media.width, Media.height, Media.caption,
        Media.copy_state, Media.placeholder, Media.thumbnail_path, Media.preview_path,
        Media.full_path, Media.playable_path, Media.linked_at, Media.sent_at,
    ),
    joinedload(Media.message).load_only(Message.kind, Message.direction, Message.sender),
    selectinload(Media.links).joinedload(MediaLink.record),
)  # fmt: skip


@bp.app_template_filter()
def sender_of(media: MediaAttachment, names: Mapping[str, str]) -> str:
    """Name the sender, to follow "from": "from Dana Whitfield", "from us"."""
    message = media.message
    if not message.is_incoming:
        return "us"
    if message.sender is None:
        return "an unknown number"
    return names.get(message.sender) or quo.display(message.sender)


def _screen_sized(media: MediaAttachment) -> str:
    """Return the endpoint of the picture that fills a screen."""
    if media.preview_path:
        return "preview"
    return "thumbnail" if media.is_damaged else "full"


def _full(media: MediaAttachment) -> str | None:
    """Return the URL of the full-size picture, if larger than the preview and viewable."""
    if media.media_type is not Media.MediaType.PHOTO or media.is_damaged:
        return None
    if max(media.width or 0, media.height or 0) <= derive.PREVIEW_SIDE:
        return None
    if derive.KINDS[media.mime_type or ""].browser_plays:
        return url_for("media.files.original", media_id=media.id)
    is_coming = media.copy_state is Media.CopyState.DUE
    if media.full_path is None and not is_coming:
        return None
    return url_for("media.files.full", media_id=media.id)


def _slides_asked(wanted: Sequence[Condition], *, newest_first: bool) -> list[MediaAttachment]:
    """Load the slides that the query parameters ask for, in list order."""
    forward = not newest_first
    if wish := request.args.get("around"):
        middle = _media_at(wish, wanted)
        half = PAGE // 2
        earlier = _slides_from(middle, wanted, half, forward=not forward)
        return [*reversed(earlier), middle, *_slides_from(middle, wanted, half, forward=forward)]
    if wish := request.args.get("after"):
        return _slides_from(_media_at(wish, ()), wanted, PAGE, forward=forward)
    if wish := request.args.get("before"):
        return _slides_from(_media_at(wish, ()), wanted, PAGE, forward=not forward)[::-1]
    if request.args.get("at") == "end":
        return _slides_from(None, wanted, PAGE, forward=not forward)[::-1]
    return _slides_from(None, wanted, PAGE, forward=forward)


def _slides_from(
    start: MediaAttachment | None, wanted: Sequence[Condition], count: int, *, forward: bool
) -> list[MediaAttachment]:
    """Load `count` slides beyond `start`, nearest first; from the end of the list if None."""
    query = sa.select(Media).where(*wanted).options(*LOADED).limit(count)
    if start is not None:
        query = query.where(_beyond(start, forward=forward))
    return list(db.session.scalars(query.order_by(*(c if forward else c.desc() for c in ORDER))))


def _beyond(media: MediaAttachment, *, forward: bool) -> Condition:
    return beyond_slide(Cursor.of_row(media, ORDER).key, forward=forward)


def beyond_slide(key: Sequence[Any], *, forward: bool) -> Condition:
    """`indexes.beyond` over ORDER, with the time by itself.

    Near the newest file SQLite answers the comparison of rows by skipping through the index on
    kinds, and sorts all that it finds: 140 ms at 100,000 files, instead of 1.
    """
    moment, *others = ORDER
    here, *rest = key
    is_near = moment >= here if forward else moment <= here
    is_passed = ~beyond(others, rest, forward=forward)
    return sa.and_(is_near, ~sa.and_(moment == here, is_passed))


def _within(key: Sequence[Any], *, forward: bool) -> Condition:
    """The row at this key, and those before it in this direction."""
    moment, *others = ORDER
    here, *rest = key
    is_near = moment <= here if forward else moment >= here
    return sa.and_(is_near, ~sa.and_(moment == here, beyond(others, rest, forward=forward)))


def _media_at(wish: str, wanted: Sequence[Condition]) -> MediaAttachment:
    [media_id] = Cursor.decode(wish, (Media.id,)).key
    found = db.session.scalar(
        sa.select(Media).where(Media.id == media_id, *wanted).options(*LOADED)
    )
    if found is None:
        abort(404, "That photo is not in this list.")
    return found


def _edges(anchor: MediaAttachment, wanted: Sequence[Condition]) -> list[Condition]:
    """The conditions that end the list `REACH` slides before and behind this one."""
    edges = []
    for forward in (False, True):
        last = db.session.execute(
            sa.select(*ORDER)
            .where(*wanted, _beyond(anchor, forward=forward))
            .order_by(*(column if forward else column.desc() for column in ORDER))
            .offset(REACH - 1)
            .limit(1)
        ).first()
        if last is not None:
            edges.append(_within(tuple(last), forward=forward))
    return edges


def _count(*wanted: Condition) -> int:
    return db.session.scalar(sa.select(sa.func.count()).select_from(Media).where(*wanted)) or 0


def _as_of() -> datetime:
    wish = request.args.get("as_of")
    return read_moment(wish) if wish else now()
