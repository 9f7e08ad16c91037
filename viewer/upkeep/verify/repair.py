"""Bring back a damaged original, from where its right bytes still are.

The bytes are hashed in the spool before anything is touched. The wrong ones are not deleted: they
go to the quarantine, as evidence of what happened to the disk.
"""

import hashlib
import logging
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence

import sqlalchemy as sa

from viewer import holdings
from viewer.extensions import begin_writing, db
from viewer.failpoint import failpoint
from viewer.holdings import Finding
from viewer.intake import refetch
from viewer.models import MediaAttachment
from viewer.office import findings
from viewer.storage import Missing, Occupied, Part, StorageError, Store, checksum, keys
from viewer.upkeep.backup import source

log = logging.getLogger(__name__)

_CHUNK = 1024 * 1024  # bytes

# Fills the part with what may be the right bytes; False if the source has none.
Source = Callable[[MediaAttachment, Part], bool]
Sources = Sequence[tuple[str, Source]]  # with the words for the audit log


def damaged(storage: uuid.UUID) -> Iterator[MediaAttachment]:
    """The rows of this store whose original is damaged, one after the other."""
    media = MediaAttachment
    found = db.session.scalars(
        sa.select(media.id)
        .where(media.is_in("kept"), media.storage == storage, findings.is_known_damaged())
        .order_by(media.sent_at.desc(), media.id)
    ).all()
    db.session.commit()
    for identity in found:
        row = db.session.get(media, identity, populate_existing=True)
        db.session.commit()  # reading and fetching are slow: hold no transaction
        if row is not None:
            yield row


def repair(media: MediaAttachment, store: Store, sources: Sources | None = None) -> str | None:
    """Put the right bytes in the place of the wrong ones. Where they came from; None if nowhere.

    Commits. Raises Unavailable if the store itself takes nothing.
    """
    if holdings.check_file(media) is Finding.SAME:
        return _note(media, findings.RIGHT_AGAIN)
    for words, fill in SOURCES if sources is None else sources:
        part = holdings.spool().new_part()
        try:
            if _is_filled(media, part, fill):
                failpoint("repair.fetched")
                _replace(media, store, part)
                return _note(media, words)
        finally:
            part.discard()
    return None


def _is_filled(media: MediaAttachment, part: Part, fill: Source) -> bool:
    """Whether the part now has the bytes that came, by their checksum."""
    try:
        if not fill(media, part):
            return False
        part.seal()
        with part.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == media.sha256
    except (StorageError, OSError) as trouble:
        log.warning("media=%s: a source for its repair failed: %s", media.id, trouble)
        return False


def _replace(media: MediaAttachment, store: Store, part: Part) -> None:
    key = media.file_path
    try:
        wrong = checksum(store.open(key)).sha256
    except Missing:
        wrong = "no-file"  # nothing lies there, or a link or a pipe
    try:
        store.move(key, keys.damaged(media.id, key, wrong))
    except Missing:
        pass
    except Occupied:  # the same wrong bytes were put there before; it is enough to have them once
        store.remove(key)
    failpoint("repair.moved")
    try:
        store.place(key, part.path)
    except Occupied:  # another repair was quicker
        store.settle(key)
    failpoint("repair.placed")


def _note(media: MediaAttachment, words: str) -> str | None:
    begin_writing()
    is_news = findings.note_repair(media, words)
    db.session.commit()
    failpoint("repair.noted")
    return words if is_news else None


# --- Sources -------------------------------------------------------------------------------


def _former_store(media: MediaAttachment, part: Part) -> bool:
    if media.former_storage is None:
        return False
    with holdings.store(media.former_storage).open(media.file_path) as file:
        shutil.copyfileobj(file, part, _CHUNK)
    return True


FROM_BACKUP = "Its bytes came from the backup."

SOURCES: Sources = (
    ("Its bytes came from the store it was in before.", _former_store),
    (FROM_BACKUP, source.fill_from_any),
    ("Its bytes were downloaded from the phone provider again.", refetch.fetch_again),
)
