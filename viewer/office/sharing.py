"""Links for people without an account, and the copies that go out by them.

A link is a secret of which only the fingerprint is kept. What goes out by it is never an original:
thumbnails and previews were made without the sender's details, and a full-size photo or a film
that plays is cleaned of place, time, people and device first. What cannot be cleaned stays here.
"""

import contextlib
import logging
import threading
import unicodedata
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import argon2
import sqlalchemy as sa
from sqlalchemy.orm import contains_eager, joinedload, selectinload

from viewer import derive
from viewer.config import settings
from viewer.extensions import Lock, db, lock, media_store, now, spool
from viewer.models import (
    MediaAttachment,
    Share,
    ShareItem,
    Throttle,
    User,
    WorkRecord,
    fingerprint,
    new_token,
)
from viewer.models.media import MOST_FILES
from viewer.office import accounts, audit, filing
from viewer.plurals import counted
from viewer.storage import Missing, Occupied, decoder_workspace, keys, make_durable

log = logging.getLogger(__name__)

LONGEST = timedelta(days=366)
LONGEST_TITLE = 200
SHORTEST_PASSPHRASE, LONGEST_PASSPHRASE = 6, 200  # characters

State, MediaType = MediaAttachment.State, MediaAttachment.MediaType

_hasher = argon2.PasswordHasher()


# --- Making and ending a link ----------------------------------------------------------------


def why_not(media: MediaAttachment) -> str | None:
    """Why this file cannot be shared; None if it can."""
    if media.state is State.TRASHED:
        return "It is in the trash."
    if not media.is_stored:
        return "It is not safely here."
    if media.media_type is MediaType.DOCUMENT:
        return "Documents carry details that we cannot take out: names, places, earlier versions."
    return None


def choices(ids: Sequence[uuid.UUID], record: WorkRecord | None = None) -> list[MediaAttachment]:
    """What was chosen: a record's files in its order, others as they came."""
    if record is not None:
        return [link.media for link in filing.links_of(record)]
    return list(
        db.session.scalars(
            sa.select(MediaAttachment)
            .where(MediaAttachment.id.in_(ids))
            .order_by(MediaAttachment.sent_at, MediaAttachment.position, MediaAttachment.id)
        )
    )


def end_of_day(day: date) -> datetime:
    """When that day is over, where the company works."""
    return datetime.combine(day + timedelta(days=1), datetime.min.time(), settings().zone)


def hash_passphrase(words: str) -> str:
    """Takes a tenth of a second on purpose: never inside a transaction."""
    return _hasher.hash(_as_heard(words))


def is_passphrase(share: Share, words: str) -> bool:
    """Takes a tenth of a second on purpose: never inside a transaction."""
    return accounts.password_matches(share.passphrase_hash, _as_heard(words)[:LONGEST_PASSPHRASE])


def _as_heard(words: str) -> str:
    """A passphrase is told by phone: capitals and spaces cannot be heard."""
    heard = unicodedata.normalize("NFKC", words).casefold()
    return " ".join(unicodedata.normalize("NFKC", heard).split())  # a few letters fall apart


def passphrase_length(words: str) -> int:
    return len(_as_heard(words))


def create(
    title: str,
    media: Sequence[MediaAttachment],
    expires_at: datetime,
    by: User,
    *,
    passphrase_hash: str | None = None,
    record: WorkRecord | None = None,
) -> tuple[Share, str]:
    """A new link, and its secret, which nobody can read again. Does not commit."""
    token = new_token()
    share = Share(
        id=uuid.uuid4(),
        fingerprint=fingerprint(token),
        title=title,
        record_id=record.id if record else None,
        passphrase_hash=passphrase_hash,
        created_by_id=by.id,
        expires_at=expires_at,
        items=[ShareItem(media_id=one.id, position=place) for place, one in enumerate(media, 1)],
    )
    db.session.add(share)
    audit.note(
        "share.create",
        f"“{title}”, {counted(len(media), 'file')}, until {expires_at:%Y-%m-%d %H:%M} UTC",
        by=by,
        subject=("share", share.id),
    )
    return share, token


def revoke(share: Share, by: User) -> None:
    """It opens nothing any more. Twice is fine. Does not commit."""
    done = db.session.execute(
        sa.update(Share)
        .where(Share.id == share.id, Share.revoked_at.is_(None))
        .values(revoked_at=now())
    )
    if done.rowcount:  # type: ignore[attr-defined]
        audit.note("share.revoke", f"“{share.title}”", by=by, subject=("share", share.id))


def shares_of(media: MediaAttachment) -> list[Share]:
    """Every link by which this file went out, the newest first."""
    return list(
        db.session.scalars(
            sa.select(Share)
            .join(ShareItem)
            .where(ShareItem.media_id == media.id)
            .order_by(Share.created_at.desc(), Share.id)
            .options(joinedload(Share.created_by))
        )
    )


# What the list can be narrowed to.
OPEN, EXPIRED, REVOKED = "open", "expired", "revoked"


def list_shares(
    state: str, by: User | None, after: sa.ColumnElement[bool] | None, limit: int
) -> list[Share]:
    """Links in this state, or in any; of this user, or of everybody; the newest first."""
    query = (
        sa.select(Share)
        .order_by(Share.created_at.desc(), Share.id.desc())
        .options(joinedload(Share.created_by), joinedload(Share.record), selectinload(Share.items))
        .limit(limit)
    )
    moment = now()
    if state == REVOKED:
        query = query.where(Share.revoked_at.is_not(None))
    elif state == EXPIRED:
        query = query.where(Share.revoked_at.is_(None), Share.expires_at <= moment)
    elif state == OPEN:
        query = query.where(Share.revoked_at.is_(None), Share.expires_at > moment)
    if by is not None:
        query = query.where(Share.created_by_id == by.id)
    if after is not None:
        query = query.where(after)
    return list(db.session.scalars(query))


# --- Opening a link ------------------------------------------------------------------------


def find_share(token: str) -> Share | None:
    """The link with this secret, also if it has expired; not if it was revoked."""
    return db.session.scalar(
        sa.select(Share).where(Share.fingerprint == fingerprint(token), Share.revoked_at.is_(None))
    )


def items_shown(share: Share) -> list[ShareItem]:
    """What can be seen behind it now, in order: what was trashed or damaged since is not there."""
    return list(
        db.session.scalars(
            sa.select(ShareItem)
            .join(ShareItem.media)
            .where(
                ShareItem.share_id == share.id,
                MediaAttachment.state == State.STORED,
                MediaAttachment.media_type != MediaType.DOCUMENT,
            )
            .order_by(ShareItem.position)
            .options(contains_eager(ShareItem.media))
        )
    )


def item(share: Share, position: int) -> MediaAttachment | None:
    """The file at this place, if it can be seen now."""
    if not 0 < position <= MOST_FILES:  # also more than a column holds
        return None
    return db.session.scalar(
        sa.select(MediaAttachment)
        .join(ShareItem)
        .where(
            ShareItem.share_id == share.id,
            ShareItem.position == position,
            MediaAttachment.state == State.STORED,
            MediaAttachment.media_type != MediaType.DOCUMENT,
        )
    )


def count_view(share: Share) -> None:
    """Somebody looked. A thousand at once count as a thousand. Does not commit."""
    db.session.execute(
        sa.update(Share)
        .where(Share.id == share.id)
        .values(views=Share.views + 1, viewed_at=now())
        .execution_options(synchronize_session=False)
    )


WINDOW = timedelta(minutes=10)
MOST_USES = 300  # pages and full-size files, from one address, within a window
MOST_ROWS = 10_000


def count_use(network: str) -> bool:
    """Note that an address asked for something that costs. False: it asked too often.

    A window of ten minutes, kept in a row, so it works without Redis. Does not commit.
    """
    key, moment = f"shared:{network}", now()
    lock(Lock.SHARE_REQUESTS)
    row = db.session.get(Throttle, key, populate_existing=True)
    if row is None:
        _forget_old_uses(moment)
        row = Throttle(key=key, failures=0, first_at=moment)
        db.session.add(row)
    elif not row.first_at <= moment < row.first_at + WINDOW:
        row.failures, row.first_at = 0, moment
    row.failures += 1
    row.until = row.first_at + WINDOW
    return row.failures <= MOST_USES


def _forget_old_uses(moment: datetime) -> None:
    mine = Throttle.key.startswith("shared:", autoescape=True)
    db.session.execute(sa.delete(Throttle).where(mine, Throttle.until < moment))
    count = db.session.scalar(sa.select(sa.func.count()).select_from(Throttle).where(mine)) or 0
    if count >= MOST_ROWS:
        oldest = sa.select(Throttle.key).where(mine).order_by(Throttle.until).limit(count // 10)
        db.session.execute(
            sa.delete(Throttle).where(Throttle.key.in_(oldest)),
            execution_options={"synchronize_session": False},
        )


# --- Clean copies --------------------------------------------------------------------------

LIMITS = derive.Limits()
FILM_LIMITS = derive.Limits(cpu_seconds=120, wall_seconds=180)
AT_ONCE = 2  # copies made by one web process
PATIENCE = 15.0  # seconds that somebody waits for their turn

_turns = threading.BoundedSemaphore(AT_ONCE)


class NotClean(Exception):
    """Nothing of this file can go out at full size."""


class Busy(Exception):
    """Too many copies are being made; ask again in a moment."""


@dataclass(frozen=True, slots=True)
class CleanCopy:
    """Bytes in the store that may go to strangers."""

    key: str
    mime_type: str


def clean_copy(media: MediaAttachment, *, to_play: bool = False) -> CleanCopy:
    """The whole file without what it says beside picture and sound, or what plays everywhere.

    Made when first asked for, and kept. Where the original cannot be cleaned, it is the preview or
    the copy that plays. Hold no transaction open: it may take seconds. Raises NotClean, Busy, and
    StorageError.
    """
    if copy := _kept(media, to_play=to_play):
        return copy
    if not _turns.acquire(timeout=PATIENCE):
        raise Busy
    try:
        return _kept(media, to_play=to_play) or _make(media, to_play=to_play)
    finally:
        _turns.release()


def clean_keys(media: MediaAttachment) -> list[str]:
    """Wherever a clean copy of it may lie."""
    return [copy.key for to_play in (False, True) for copy in _places(media, to_play=to_play)]


def _places(media: MediaAttachment, *, to_play: bool) -> list[CleanCopy]:
    """As what, and where, a copy may be kept; the best one first."""
    types = [media.mime_type or ""]
    if media.media_type is MediaType.PHOTO:
        types.append("image/jpeg")
    if media.playable_path:
        playable = {"mp4": "video/mp4", "mp3": "audio/mpeg", "m4a": "audio/mp4"}[
            media.playable_path.rpartition(".")[2]
        ]
        types = [playable] if to_play else [*types, playable]
    use = "plays" if to_play else "whole"
    return [
        CleanCopy(keys.shared(media.id, use, derive.KINDS[one].extension), one)
        for one in dict.fromkeys(types)
        if one in derive.INLINE_TYPES
    ]


def _kept(media: MediaAttachment, *, to_play: bool) -> CleanCopy | None:
    store = media_store()
    for copy in _places(media, to_play=to_play):
        with contextlib.suppress(Missing):
            store.stat(copy.key)
            return copy
    return None


def _make(media: MediaAttachment, *, to_play: bool) -> CleanCopy:
    """The first of several sources that can be cleaned."""
    mime_type = media.mime_type or ""
    sources = [] if to_play and media.playable_path else [(media.file_path, mime_type)]
    if media.playable_path:
        sources.append((media.playable_path, _places(media, to_play=True)[0].mime_type))
    elif media.media_type is MediaType.PHOTO and media.preview_path:
        sources.append((media.preview_path, "image/jpeg"))
    for key, kind in sources:
        try:
            return _cleaned(media, key, kind, to_play=to_play)
        except derive.Unreadable as reason:
            log.warning("media=%s cannot be cleaned: %s", media.id, reason)
        except derive.Killed as reason:
            # Perhaps only now: what comes in its place is not kept.
            log.warning("media=%s was not cleaned: %s", media.id, reason)
            if media.media_type is MediaType.PHOTO and media.preview_path:
                return CleanCopy(media.preview_path, "image/jpeg")
            raise Busy from reason
    raise NotClean


def _cleaned(media: MediaAttachment, key: str, mime_type: str, *, to_play: bool) -> CleanCopy:
    store = media_store()
    is_film = media.media_type is MediaType.VIDEO
    with decoder_workspace(spool(), store, key) as (source, folder):
        made = derive.clean(source, mime_type, folder, FILM_LIMITS if is_film else LIMITS)
        place = next(
            one for one in _places(media, to_play=to_play) if one.mime_type == made.mime_type
        )
        make_durable(made.file)
        with contextlib.suppress(Occupied):  # another process was quicker
            store.place(place.key, made.file)
    return place
