"""Give an original another key in its own store: the old one told whose it was.

Copy, compare, let the row name the new key; the old one is erased by whoever asked. Killed
anywhere, it is done again from the start: what was placed is adopted.
"""

import hashlib

import sqlalchemy as sa

from viewer.extensions import db, now
from viewer.failpoint import failpoint
from viewer.holdings.files import Finding, compare_bytes, open_file
from viewer.holdings.moving import StrangeFile, WrongBytes
from viewer.holdings.stores import spool, store_of
from viewer.models import EvidenceItem, MediaAttachment
from viewer.storage import Occupied, keys

_CHUNK = 1024 * 1024  # bytes


def rename(media: MediaAttachment, key: str) -> bool:
    """Whether the row names `key` now; its derivatives are made anew. Does not commit.

    Hold no transaction open. Raises StrangeFile, WrongBytes, Missing, Unavailable.
    """
    has_bytes = media.downloaded_at is not None and media.purged_at is None
    if has_bytes:
        _copy(media, key)
    failpoint("rename.placed")
    copies: dict[str, object] = {}
    if has_bytes and media.copies:
        copies = {
            "thumbnail_path": None, "preview_path": None, "full_path": None, "playable_path": None,
            "copy_state": MediaAttachment.CopyState.DUE, "copy_due_at": now(), "copy_attempts": 0,
        }  # fmt: skip
    is_renamed = MediaAttachment.change_if(
        media.id,
        MediaAttachment.file_path == media.file_path,
        MediaAttachment.state == media.state,
        MediaAttachment.attempts == media.attempts,
        MediaAttachment.storage.is_not_distinct_from(media.storage),
        file_path=key,
        file_stem=keys.stem(key).lower(),
        former_storage=None,  # what it had of the file is under the old key
        moved_at=None,
        **copies,
    )
    if is_renamed:
        db.session.execute(
            sa.update(EvidenceItem)
            .where(EvidenceItem.media_id == media.id)
            .values(file_path=key)
            .execution_options(synchronize_session=False)
        )
    return is_renamed


def _copy(media: MediaAttachment, key: str) -> None:
    part = spool().new_part()
    try:
        digest = hashlib.sha256()
        with open_file(media, media.file_path) as original:
            while chunk := original.read(_CHUNK):
                digest.update(chunk)
                part.write(chunk)
        part.seal()
        if digest.hexdigest() != media.sha256:
            raise WrongBytes(Finding.DIFFERENT)
        place = store_of(media)
        try:
            place.place(key, part.path)
        except Occupied:
            if compare_bytes(place, key, media.sha256) is not Finding.SAME:
                raise StrangeFile(f"A strange file lies under {key} at {place.address}.") from None
            place.settle(key)
    finally:
        part.discard()
