"""Database and media folder belong together, or nothing starts.

A disk that is not mounted, a MEDIA_ROOT of the test system, a database restored beside a strange
folder: each would put photos where nobody looks for them. So the folder carries a marker, and the
database knows what it says.

WrongStore
  UnusableStore  it is not even a folder that can be read and written
"""

import uuid

import sqlalchemy as sa

from viewer.extensions import Lock, db, lock, media_store, unproven_store
from viewer.models import MediaAttachment, StoreIdentity
from viewer.storage import StorageError, Store


class WrongStore(Exception):
    """The media folder is not the one this database belongs to."""


class UnusableStore(WrongStore):
    """The media folder cannot be read or written."""


def ensure() -> None:
    """Know each other from the first start on. Commits. Raises WrongStore."""
    store = unproven_store()
    try:
        found = store.identity()  # before anything is locked: a disk may hang
        known = db.session.scalar(sa.select(StoreIdentity))
        if known is None or found != str(known.id):
            known = _introduce(store)
        db.session.commit()
        media_store().expect(str(known.id))
    except StorageError as trouble:
        db.session.rollback()
        reason = getattr(trouble.__cause__, "strerror", None) or trouble
        raise UnusableStore(f"MEDIA_ROOT: {store.address} cannot be used: {reason}") from trouble


def _introduce(store: Store) -> StoreIdentity:
    """Their first meeting; one process at a time. Raises WrongStore, StorageError."""
    lock(Lock.STORE_IDENTITY)
    known = db.session.scalar(sa.select(StoreIdentity))
    found = store.identity()
    if known is None:
        if not store.is_empty():
            raise WrongStore(_why_unknown(store, found))
        known = StoreIdentity(id=uuid.uuid4())
        db.session.add(known)
        db.session.commit()
        lock(Lock.STORE_IDENTITY)
        found = store.identity()
    if found is None and store.is_empty() and not _has_media():
        store.mark(str(known.id))  # the first start, or the next after one that died right here
    elif found != str(known.id):
        raise WrongStore(_why_wrong(store, found))
    return known


def _why_unknown(store: Store, found: str | None) -> str:
    """Of a database that has met no folder yet."""
    if found is None and _has_media():  # it is older than markers are
        return (
            f"The media folder {store.address} has no marker, and this database knows none yet. "
            "If these are its photos, let them be compared: viewer storage adopt"
        )
    return (
        f"The media folder {store.address} belongs to another database, or holds files that "
        "this one does not know. Set MEDIA_ROOT to an empty folder, or DATABASE_URL to "
        "the database that goes with it."
    )


def _why_wrong(store: Store, found: str | None) -> str:
    if found is not None:
        return (
            f"The media folder {store.address} is another database's. Set MEDIA_ROOT to this "
            "database's folder, or DATABASE_URL to the database that goes with this one."
        )
    return (
        f"The media folder {store.address} has no marker: is its disk mounted? "
        "If you moved the photos there, let them be compared: viewer storage adopt"
    )


def _has_media() -> bool:
    return db.session.scalar(sa.select(MediaAttachment.id).limit(1)) is not None
