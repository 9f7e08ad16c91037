"""Verify that database and media folder belong together, or refuse to start.

An unmounted disk, the test system's MEDIA_ROOT, a database restored beside another folder: each
would put photos where nobody looks for them. So the folder carries a marker, and the database
stores the marker's id.

WrongStore
  UnusableStore  the folder cannot be read or written
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
    """Check the marker; create it at the first start. Idempotent. Commits. Raises WrongStore."""
    store = unproven_store()
    try:
        found = store.identity()  # before any lock is taken: a disk may hang
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
    """Create id and marker, under a cluster-wide lock. Raises WrongStore, StorageError."""
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
        store.mark(str(known.id))  # the first start, or the one after a crash right here
    elif found != str(known.id):
        raise WrongStore(_why_wrong(store, found))
    return known


def _why_unknown(store: Store, found: str | None) -> str:
    """The error message for a database without a store id."""
    if found is None and _has_media():  # the database is older than markers
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
