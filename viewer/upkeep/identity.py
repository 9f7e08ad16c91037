"""Verify that database and media folder belong together, or refuse to start.

An unmounted disk, the test system's MEDIA_ROOT, a database restored beside another folder: each
would put photos where nobody looks for them. So the folder carries a marker, and the database
stores the marker's id.

WrongStore
  UnusableStore  the folder cannot be read or written
"""

import socket
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
        known = _with_marker(found) or _introduce(store)
        if (known.address, known.host) != (store.address, socket.gethostname()):
            known.address, known.host = store.address, socket.gethostname()
        db.session.commit()
        holdings.expect(known.id)
    except StorageError as trouble:
        db.session.rollback()
        reason = getattr(trouble.__cause__, "strerror", None) or trouble
        raise UnusableStore(f"MEDIA_ROOT: {store.address} cannot be used: {reason}") from trouble


def join() -> RegisteredStore:
    """Register this host's empty folder beside those of other hosts, and mark it. Commits.

    Raises WrongStore; an unmounted disk looks like an empty folder, so a host joins once.
    """
    store, host = holdings.unproven(), socket.gethostname()
    try:
        found, is_empty = store.identity(), store.is_empty()
    except StorageError as trouble:
        raise UnusableStore(f"MEDIA_ROOT: {store.address} cannot be used: {trouble}") from None
    lock(Lock.STORE_IDENTITY)
    known = registered_folders()
    ours = _with_marker(found)
    theirs = [one for one in known if one.host == host and one is not ours]
    if not known:
        raise WrongStore("This viewer has no folder yet: viewer up makes the first.")
    if ours is not None:
        raise WrongStore(f"The media folder {store.address} is this viewer's already.")
    if found is not None or not is_empty:
        raise WrongStore(f"The media folder {store.address} is not empty. Name an empty one.")
    if theirs:
        raise WrongStore(
            f"This host, {host}, has a folder already: {theirs[0].address}. Is its disk mounted? "
            f"If it is lost for good: viewer storage lost {theirs[0].id}, on another host"
        )
    row = RegisteredStore(id=uuid.uuid4(), host=host, address=store.address)
    db.session.add(row)
    store.mark(str(row.id))
    db.session.commit()
    return row


def registered_folder() -> RegisteredStore | None:
    """The row of this host's media folder; None before its first start."""
    folders = registered_folders()
    if len(folders) > 1:
        folders = [one for one in folders if one.host == socket.gethostname()]
    return folders[0] if folders else None


def registered_folders() -> list[RegisteredStore]:
    """Of all hosts, the first one first."""
    return list(
        db.session.scalars(
            sa.select(RegisteredStore)
            .where(RegisteredStore.is_folder_in_use())
            .order_by(RegisteredStore.created_at)
        )
    )


def _with_marker(found: str | None) -> RegisteredStore | None:
    return next((one for one in registered_folders() if str(one.id) == found), None)


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
        known = RegisteredStore(id=uuid.uuid4(), host=socket.gethostname())
        db.session.add(known)
        db.session.commit()
        lock(Lock.STORE_IDENTITY)
        found = store.identity()
    # Else a second host's empty folder would pass for the first one's.
    is_ours = known.host in (None, socket.gethostname())
    if found is None and is_ours and store.is_empty() and not _has_media():
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
        "If you moved the photos there, let them be compared: viewer storage adopt. "
        "The empty folder of a further host joins: viewer storage join"
    )


def _has_media() -> bool:
    return db.session.scalar(sa.select(MediaAttachment.id).limit(1)) is not None
