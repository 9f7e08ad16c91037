"""Verify that database and media folder belong together, or refuse to start.

An unmounted disk, the test system's MEDIA_ROOT, a database restored beside another folder: each
would put photos where nobody looks for them. So the folder carries a marker, and the database
stores the marker's id.

WrongStore
  UnusableStore  the folder cannot be read or written
"""

import uuid

import sqlalchemy as sa

from viewer import holdings
from viewer.config import settings
from viewer.extensions import Lock, db, lock
from viewer.models import MediaAttachment, RegisteredStore
from viewer.storage import StorageError, Store
from viewer.upkeep.restore import journal


class WrongStore(Exception):
    """The media folder is not the one this database belongs to."""


class UnusableStore(WrongStore):
    """The media folder cannot be read or written."""


def ensure() -> None:
    """Check the marker; create it at the first start. Idempotent. Commits. Raises WrongStore."""
    store = holdings.unproven()
    if journal.exists(settings().media_root):
        raise WrongStore(
            f"A restore into {store.address} was begun and has not ended. Go on with it: "
            "viewer restore --from TARGET"
        )
    try:
        found = store.identity()  # before any lock is taken: a disk may hang
        known = registered_folder()
        if known is None or found != str(known.id):
            known = _introduce(store)
        if known.address != store.address:
            known.address = store.address
        db.session.commit()
        holdings.expect(known.id)
    except StorageError as trouble:
        db.session.rollback()
        reason = getattr(trouble.__cause__, "strerror", None) or trouble
        raise UnusableStore(f"MEDIA_ROOT: {store.address} cannot be used: {reason}") from trouble


def registered_folder() -> RegisteredStore | None:
    """The row of the media folder; None before the first start."""
    return db.session.scalar(sa.select(RegisteredStore).filter_by(kind=RegisteredStore.Kind.FOLDER))


def _introduce(store: Store) -> RegisteredStore:
    """Create id and marker, under a cluster-wide lock. Raises WrongStore, StorageError."""
    lock(Lock.STORE_IDENTITY)
    known = registered_folder()
    found = store.identity()
    if known is None:
        if not store.is_empty():
            raise WrongStore(
                f"The media folder {store.address} belongs to another database, or holds files "
                "that this one does not know. Set MEDIA_ROOT to an empty folder, or DATABASE_URL "
                "to the database that goes with it."
            )
        known = RegisteredStore(id=uuid.uuid4())
        db.session.add(known)
        db.session.commit()
        lock(Lock.STORE_IDENTITY)
        found = store.identity()
    if found is None and store.is_empty() and not _has_media():
        store.mark(str(known.id))  # the first start, or the one after a crash right here
    elif found != str(known.id):
        raise WrongStore(_why_wrong(store, found))
    return known


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
