"""Ask the provider again for a file that arrived cut off, and take the whole one if it has it.

What came first is the original until then, and is never written over: the whole file gets a name of
its own, the row changes to it in one statement, and only then the first bytes move to the store's
quarantine. A crash in between leaves both, and the next run goes on.
"""

import contextlib
import logging
import uuid
from dataclasses import replace
from datetime import timedelta

import sqlalchemy as sa

from viewer import derive, holdings
from viewer.extensions import db, now
from viewer.failpoint import failpoint
from viewer.intake import collect, duplicates, refetch
from viewer.models import MediaAttachment
from viewer.storage import Missing, Occupied, Part, StorageError, checksum, decoder_workspace, keys

log = logging.getLogger(__name__)

State, Trouble = MediaAttachment.State, MediaAttachment.Trouble

# After the first time. The provider may not have had all of it itself yet; after a day it will
# not get more.
PAUSES = (timedelta(hours=1), timedelta(days=1))
LEASE = timedelta(hours=1)  # longer than download and decoding may take
LONGEST_LOOK = 120  # seconds of computing time; what takes longer is asked for by people

NO_MORE = "The phone provider has no more of it."
GONE = "The phone provider does not have it any more."


def ask_again(media_id: uuid.UUID) -> bool:
    """Download it again, if that is due. True if the whole file is here now. Commits."""
    media = _claim(media_id)
    if media is None:
        return False
    if media.superseded_path is not None:  # an earlier run died after the change
        _finish(media)
        return False
    part = holdings.spool().new_part()
    try:
        if not refetch.fetch_again(media, part):
            return _give_back(media, GONE)
        part.seal()
        receipt = collect.receipt_of(part, media.declared_type)
        if receipt.sha256 == media.sha256 or not _is_whole(media, part, receipt):
            return _give_back(media, NO_MORE)
        failpoint("incomplete.fetched")
        if not _replace(media, part, receipt):
            return False
    except StorageError as trouble:
        log.warning("media=%s is asked for again later: %s", media_id, trouble)
        return False  # its lease ends, and the sweep finds it
    finally:
        part.discard()
    log.info("media=%s is whole now bytes=%d", media_id, receipt.size)
    _finish(db.session.get_one(MediaAttachment, media_id, populate_existing=True))
    if message_id := duplicates.hold_message_of(media_id):
        duplicates.hide(message_id)
    db.session.commit()
    return True


def _claim(media_id: uuid.UUID) -> MediaAttachment | None:
    media, moment = MediaAttachment, now()
    is_ours = media.change_if(
        media_id, media.is_due_to_ask_again(moment), next_attempt_at=moment + LEASE
    )
    row = db.session.get(media, media_id, populate_existing=True) if is_ours else None
    db.session.commit()
    return row


def _give_back(media: MediaAttachment, reason: str) -> bool:
    """Say what the provider answered, and ask once more later, or no more."""
    later = now() + PAUSES[media.failures] if media.failures < len(PAUSES) else None
    _write(
        media,
        MediaAttachment.next_attempt_at.is_not(None),  # a person may have accepted it meanwhile
        failures=media.failures + 1,
        problem=reason,
        next_attempt_at=later,
    )
    return False


def _write(media: MediaAttachment, *conditions: sa.ColumnElement[bool], **values: object) -> bool:
    """Update the row if it still names the bytes that we saw. Commits."""
    done = MediaAttachment.change_if(
        media.id,
        MediaAttachment.state == State.STORED,
        MediaAttachment.sha256 == media.sha256,
        *conditions,
        **values,
    )
    db.session.commit()
    return done


def _is_whole(media: MediaAttachment, part: Part, receipt: collect.Receipt) -> bool:
    """Whether all of it can be read: another cut file is no better than the one that we have."""
    limits = derive.limits_of(receipt.kind.media_type, receipt.size)
    limits = replace(
        limits,
        cpu_seconds=min(limits.cpu_seconds, LONGEST_LOOK),
        wall_seconds=min(limits.wall_seconds, 2 * LONGEST_LOOK),
    )
    with decoder_workspace(holdings.spool(), part.path.open("rb")) as (source, folder):
        try:
            found = derive.derive(source, receipt.kind.mime_type, folder, limits)
        except derive.DeriveError:  # an error page too: no document is decoded
            return False
    # A voicemail in a film's container shows only now that it is sound.
    return found.media_type == media.media_type.value and not found.is_incomplete


def _replace(media: MediaAttachment, part: Part, receipt: collect.Receipt) -> bool:
    """Place the whole file beside the cut one, then let the row name it. Whether it did."""
    store, moment = holdings.store_of(media), now()
    path = f"{keys.stem(media.file_path)}-whole.{receipt.kind.extension}"
    try:
        store.place(path, part.path)
    except Occupied:
        found = checksum(store.open(path))
        if found.sha256 != receipt.sha256:
            return _give_back(media, NO_MORE)  # a stranger's file: nothing is replaced
        store.settle(path)
    failpoint("incomplete.placed")
    done = _write(
        media,
        MediaAttachment.storage == media.storage,  # else it moved, and this lies where it was
        file_path=path,
        file_stem=keys.stem(path).lower(),
        sha256=receipt.sha256,
        file_size=receipt.size,
        mime_type=receipt.kind.mime_type,
        superseded_path=media.file_path,
        downloaded_at=moment,  # no backup has these bytes yet
        verified_at=moment,
        trouble=None,
        problem=None,
        accepted_at=None,
        failures=0,
        next_attempt_at=moment + LEASE,
        copy_state=MediaAttachment.CopyState.DUE,
        copy_due_at=moment,
        copy_attempts=0,
        copy_problem=None,
        thumbnail_path=None,
        preview_path=None,
        full_path=None,
        playable_path=None,
    )
    failpoint("incomplete.named")
    return done


def _finish(media: MediaAttachment) -> None:
    """Put the bytes that came first into the quarantine, and forget their derivatives."""
    old = media.superseded_path
    # An earlier run may have moved it, and another file may have its name since.
    is_named = sa.select(MediaAttachment.id).where(MediaAttachment.file_path == old).exists()
    if old is not None and not db.session.scalar(sa.select(is_named)):
        db.session.commit()
        try:
            _put_away(media, old)
        except StorageError as trouble:
            log.warning("media=%s: what came first is put away later: %s", media.id, trouble)
            return  # the lease ends, and another run or host goes on
        failpoint("incomplete.moved")
    _write(media, superseded_path=None, next_attempt_at=None)


def _put_away(media: MediaAttachment, old: str) -> None:
    holdings.remove_everywhere(media, keys.derivatives(old))
    with contextlib.suppress(Missing, Occupied):
        holdings.store_of(media).move(old, keys.superseded(media.id, old))
    if media.former_storage is not None:
        holdings.store(media.former_storage).remove(old)
