"""Share links for people without an account, and the clean copies they serve.

A link holds a secret token, of which only the fingerprint is stored. A link never serves an
original: thumbnails and previews are made without metadata, and a full-size photo or a playable
video is first stripped of location, time, people and device. A file that cannot be stripped is not
served at full size.
"""

import contextlib
import logging
import threading
import time
import unicodedata
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice

import argon2
import sqlalchemy as sa
from sqlalchemy.orm import contains_eager, joinedload, selectinload

from viewer import derive, holdings
from viewer.config import settings
from viewer.extensions import Lock, db, lock, now, one_query
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
from viewer.storage import (
    Missing,
    Occupied,
    StorageError,
    decoder_workspace,
    keys,
    make_durable,
)

log = logging.getLogger(__name__)

LONGEST = timedelta(days=366)
LONGEST_TITLE = 200
TIDIED_AT_ONCE = 500  # clean copies
SHORTEST_PASSPHRASE, LONGEST_PASSPHRASE = 6, 200  # characters

State, MediaType = MediaAttachment.State, MediaAttachment.MediaType

_hasher = argon2.PasswordHasher()


# --- Creating and revoking a link ------------------------------------------------------------


def why_not(media: MediaAttachment) -> str | None:
    """Why this file cannot be shared; None if it can."""
    if media.state is State.TRASHED:
        return "It is in the trash."
    if not media.is_stored:
        return "It is not safely here."
    if media.is_known_not_to_play:
        return "Nothing in it plays, so there is nothing of it that others could look at or hear."
    if media.media_type is MediaType.DOCUMENT:
        return "Documents carry details that we cannot take out: names, places, earlier versions."
    return None


def choices(ids: Sequence[uuid.UUID], record: WorkRecord | None = None) -> list[MediaAttachment]:
    """The chosen files: a record's in its own order, others by time sent."""
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
    """The end of that day in TZ_DISPLAY."""
    return datetime.combine(day + timedelta(days=1), datetime.min.time(), settings().zone)


def hash_passphrase(words: str) -> str:
    """Argon2 hash; takes 0.1 s on purpose, so never call it inside a transaction."""
    return _hasher.hash(_as_heard(words))


def is_passphrase(share: Share, words: str) -> bool:
    """Check a passphrase; takes 0.1 s on purpose, so never call it inside a transaction."""
    return accounts.password_matches(share.passphrase_hash, _as_heard(words)[:LONGEST_PASSPHRASE])


def _as_heard(words: str) -> str:
    """Normalize case and spaces: a passphrase is told by phone, where neither can be heard."""
    heard = unicodedata.normalize("NFKC", words).casefold()
    return " ".join(unicodedata.normalize("NFKC", heard).split())  # casefold undoes NFKC


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
    """Create a link. Returns it and its secret token, which is not stored. Does not commit."""
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
    """Revoke the link. Idempotent. Does not commit."""
    done = db.session.execute(
        sa.update(Share)
        .where(Share.id == share.id, Share.revoked_at.is_(None))
        .values(revoked_at=now())
    )
    if done.rowcount:  # type: ignore[attr-defined]
        audit.note("share.revoke", f"“{share.title}”", by=by, subject=("share", share.id))


def shares_of(media: MediaAttachment) -> list[Share]:
    """Every link that includes this file, newest first."""
    return list(
        db.session.scalars(
            sa.select(Share)
            .join(ShareItem)
            .where(ShareItem.media_id == media.id)
            .order_by(Share.created_at.desc(), Share.id)
            .options(joinedload(Share.created_by))
        )
    )


# Filters of the list.
OPEN, EXPIRED, REVOKED = "open", "expired", "revoked"


def list_shares(
    state: str, by: User | None, after: sa.ColumnElement[bool] | None, limit: int
) -> list[Share]:
    """One page of links, newest first: in this state (or any), by this user (None: all users).

    `after` is the keyset condition that continues the pagination.
    """
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
    """The link with this secret token, even if expired; None if revoked or unknown."""
    return db.session.scalar(
        sa.select(Share).where(Share.fingerprint == fingerprint(token), Share.revoked_at.is_(None))
    )


def items_shown(share: Share) -> list[ShareItem]:
    """The link's visible items, in order, without files that were trashed or damaged since."""
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
    """The file at this position, if it is visible now."""
    if not 0 < position <= MOST_FILES:  # also guards the integer column's range
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
    """Count a view, atomically: concurrent views are not lost. Does not commit."""
    db.session.execute(
        sa.update(Share)
        .where(Share.id == share.id)
        .values(views=Share.views + 1, viewed_at=now())
        .execution_options(synchronize_session=False)
    )


WINDOW = timedelta(minutes=10)
MOST_USES = 300  # pages and full-size files, per client address and window
MOST_ROWS = 10_000


def count_use(network: str) -> bool:
    """Rate limit costly requests by client address. Returns False if over the limit.

    A fixed window of ten minutes, kept in a row, so it needs no Redis. Does not commit.
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

AT_ONCE = 2  # concurrent copies per web process
PATIENCE = 15.0  # seconds a request waits for a free slot
LOOKING = 10.0  # seconds for finding out, before sharing, what goes out smaller
AGAIN_AFTER = 600.0  # seconds until a copy is tried again that could not be made
MOST_FAILURES = 1_000  # that are remembered, per web process

_turns = threading.BoundedSemaphore(AT_ONCE)
_Wanted = tuple[uuid.UUID, str | None, bool]  # media, its checksum, whether to play
_making: set[_Wanted] = set()
_made = threading.Condition()  # notified when one leaves `_making`
# What could not be made, until when, and whether for the file's own fault: else each request would
# try it again, for seconds of CPU.
_failed: "OrderedDict[_Wanted, tuple[float, bool]]" = OrderedDict()


class NotClean(Exception):
    """No version of this file can be stripped of its metadata for full-size sharing."""


class Busy(Exception):
    """Too many copies are being made; the client should retry in a moment."""


@dataclass(frozen=True, slots=True)
class CleanCopy:
    """A file in the store that may be served to anybody with the link."""

    key: str
    mime_type: str
    is_smaller: bool = False  # than the original: that could not be stripped


def clean_copy(media: MediaAttachment, *, to_play: bool = False) -> CleanCopy:
    """The full-size file without metadata; with `to_play`, one that every browser plays.

    Made on the first request, then kept in the store while a link shows it; requests that come
    meanwhile wait for it. Where the original cannot be stripped, it is the preview or the playable
    copy. Hold no transaction open: it may take seconds. Raises NotClean, Busy, and StorageError.
    """
    if copy := _kept(media, to_play=to_play):
        return copy
    wanted = media.id, media.sha256, to_play
    until = time.monotonic() + PATIENCE
    with _made:
        if not _made.wait_for(lambda: wanted not in _making, PATIENCE):
            raise Busy
        _making.add(wanted)
    try:
        return _kept(media, to_play=to_play) or _make_once(media, wanted, until)
    finally:
        with _made:
            _making.remove(wanted)
            _made.notify_all()


def _make_once(media: MediaAttachment, wanted: _Wanted, until: float) -> CleanCopy:
    """Make it, unless that failed just now."""
    again_at, is_unclean = _failed.get(wanted, (0.0, False))
    if time.monotonic() < again_at:
        return _instead(media, is_unclean=is_unclean)
    if not _turns.acquire(timeout=max(0.0, until - time.monotonic())):
        raise Busy
    try:
        return _make(media, to_play=wanted[2])
    except (NotClean, derive.Killed) as failure:
        is_unclean = isinstance(failure, NotClean)
        _failed[wanted] = time.monotonic() + AGAIN_AFTER, is_unclean
        while len(_failed) > MOST_FAILURES:
            _failed.popitem(last=False)
        return _instead(media, is_unclean=is_unclean)
    finally:
        _turns.release()


def _instead(media: MediaAttachment, *, is_unclean: bool) -> CleanCopy:
    """What goes out where no copy can be made. Raises NotClean and Busy."""
    if is_unclean:
        raise NotClean
    # Perhaps transient (memory, time): do not store the fallback as the clean copy.
    if media.media_type is MediaType.PHOTO and media.preview_path:
        return CleanCopy(media.preview_path, "image/jpeg", is_smaller=True)
    raise Busy


SMALLER = (
    "Goes out smaller than it is: place, time and device could not be taken out of the original, "
    "so the link gives the copy made for screens."
)
NOT_SAVED = "Can be looked at, but not saved: place, time and device could not be taken out of it."


def less_than_whole(files: Sequence[MediaAttachment]) -> dict[uuid.UUID, str]:
    """Which of these photos a link would not give in every pixel, and what it gives instead.

    Only those are tried whose copies met trouble, or whose size may: the others have been decoded
    whole, which is all that cleaning takes. Hold no transaction open. Raises no StorageError: what
    cannot be tried now is not on the list.
    """
    found = {}
    until = time.monotonic() + LOOKING
    for media in filter(_may_be_less, files):
        if time.monotonic() > until:
            break
        with contextlib.suppress(StorageError, Busy):
            if words := _less(media):
                found[media.id] = words
    return found


def known_as_less(media: MediaAttachment) -> str | None:
    """What the link gives in place of the whole file; None if that, or nothing yet, was made."""
    copy = _kept(media, to_play=False)
    return SMALLER if copy is not None and copy.is_smaller else None


def _may_be_less(media: MediaAttachment) -> bool:
    pixels = (media.width or 0) * (media.height or 0)
    return media.media_type is MediaType.PHOTO and (
        media.copy_problem is not None
        or media.copy_state is MediaAttachment.CopyState.IMPOSSIBLE
        or pixels > derive.limits_of("photo", None).pixels
    )


def _less(media: MediaAttachment) -> str | None:
    try:
        return SMALLER if clean_copy(media).is_smaller else None
    except NotClean:
        return NOT_SAVED


def clean_keys(media: MediaAttachment) -> list[str]:
    """Every key at which a clean copy of the file may be stored."""
    return [copy.key for to_play in (False, True) for copy in _places(media, to_play=to_play)]


def tidy() -> int:
    """Remove this host's clean copies whose links ended, and those of earlier ways. How many.

    Whoever purged the file or ended the link may have been another host. Raises StorageError.
    """
    store, removed = holdings.own(), 0
    listed = ((key, keys.media_of_clean_copy(key)) for key, _ in store.keys(keys.CLEAN_COPIES))
    while found := dict(islice(listed, TIDIED_AT_ONCE)):
        kept = _shown({one for one in found.values() if one})
        for key in (key for key, media_id in found.items() if media_id not in kept):
            store.remove(key)
            removed += 1
    return removed


def _shown(ids: set[uuid.UUID]) -> set[uuid.UUID | None]:
    media = MediaAttachment
    is_in_a_link = sa.exists().where(ShareItem.media_id == media.id)
    is_in_an_open_one = is_in_a_link.where(
        Share.id == ShareItem.share_id, Share.revoked_at.is_(None), Share.expires_at > now()
    )
    query = sa.select(media.id).where(
        media.id.in_(ids),
        media.purged_at.is_(None),
        # Of what is in none yet, the office may have looked what a link would give.
        is_in_an_open_one | ~is_in_a_link,
    )
    with one_query() as connection:
        return set(connection.scalars(query))


def _places(media: MediaAttachment, *, to_play: bool) -> list[CleanCopy]:
    """The possible types and keys of a clean copy, best first."""
    whole, less = [media.mime_type or ""], []
    if media.media_type is MediaType.PHOTO:
        whole.append("image/jpeg")
        less.append("image/jpeg")
    if media.playable_path:
        less.append(_PLAYABLE[media.playable_path.rpartition(".")[2]])
        if to_play:
            whole, less = less, []
    return [
        CleanCopy(
            keys.shared(media.id, media.sha256 or "", use, derive.KINDS[one].extension),
            one,
            use == "small",
        )
        for use, types in (("plays" if to_play else "whole", whole), ("small", less))
        for one in dict.fromkeys(types)
        if one in derive.INLINE_TYPES
    ]


_PLAYABLE = {"mp4": "video/mp4", "mp3": "audio/mpeg", "m4a": "audio/mp4"}


def _kept(media: MediaAttachment, *, to_play: bool) -> CleanCopy | None:
    store = holdings.own()  # clean copies are a cache of each host
    for copy in _places(media, to_play=to_play):
        with contextlib.suppress(Missing):
            store.stat(copy.key)
            return copy
    return None


def _make(media: MediaAttachment, *, to_play: bool) -> CleanCopy:
    """Clean the first of several sources that can be cleaned. Raises NotClean, derive.Killed."""
    places = _places(media, to_play=to_play)
    whole = [one for one in places if not one.is_smaller]
    less = [one for one in places if one.is_smaller]
    sources = [(media.file_path, media.mime_type or "", whole)]
    if media.playable_path:
        playable = _PLAYABLE[media.playable_path.rpartition(".")[2]]
        if to_play:
            sources = [(media.playable_path, playable, whole)]
        else:
            sources.append((media.playable_path, playable, less))
    elif media.media_type is MediaType.PHOTO and media.preview_path:
        sources.append((media.preview_path, "image/jpeg", less))
    for key, kind, into in sources:
        try:
            return _cleaned(media, key, kind, into)
        except derive.Unreadable as reason:
            log.warning("media=%s cannot be cleaned: %s", media.id, reason)
        except derive.Killed as reason:
            log.warning("media=%s was not cleaned: %s", media.id, reason)
            raise
    raise NotClean


def _cleaned(
    media: MediaAttachment, key: str, mime_type: str, places: Sequence[CleanCopy]
) -> CleanCopy:
    limits = derive.limits_of(media.media_type.value, media.file_size)
    original = holdings.open_file(media, key)
    with decoder_workspace(holdings.spool(), original) as (source, folder):
        made = derive.clean(source, mime_type, folder, limits)
        place = next(one for one in places if one.mime_type == made.mime_type)
        make_durable(made.file)
        with contextlib.suppress(Occupied):  # another process was quicker
            holdings.own().place(place.key, made.file)
    return place
