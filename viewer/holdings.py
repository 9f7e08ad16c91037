"""Which store holds which row's bytes: the only place where rows meet stores.

Every file passes the spool, a local folder, on its way into the wanted store. The row then names
the store of its original and derivatives; after a move it also names the one they came from, which
still serves them should the other fail.
"""

import enum
import logging
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa
from flask import Flask, current_app

from viewer import storage
from viewer.config import settings
from viewer.extensions import db
from viewer.models import MediaAttachment, RegisteredStore
from viewer.storage import (
    Missing,
    Opened,
    Spool,
    StorageError,
    Store,
    Unavailable,
    checksum,
    keys,
)

log = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")


class WrongSize(StorageError):
    """The original has another size than its row says: it was damaged in the store."""


class Finding(enum.StrEnum):
    """The result of comparing a stored original with its row."""

    SAME = "same"
    DIFFERENT = "different"
    MISSING = "missing"


class _Stores:
    """The stores of one application: this host's folder, and the others once they are needed."""

    def __init__(self, app: Flask) -> None:
        found = app.config["SETTINGS"]
        self.own = storage.from_url(f"folder:{found.media_root}", found.X_ACCEL_PREFIX)
        self.own_id: uuid.UUID | None = None  # not known before the database was asked
        self.spool = storage.Workspace(found.media_root, self.own)
        self.others: dict[uuid.UUID, Store] = {}


def init_app(app: Flask) -> None:
    app.extensions["stores"] = _Stores(app)


# --- Stores --------------------------------------------------------------------------------


def wanted() -> Store:
    """The store for new files: this host's folder. It serves nothing unless its marker is ours.

    The expected identity is read from the database on first use in each process, so the check
    works under any WSGI server. Operations on the store raise Unavailable on a mismatch.
    """
    stores = _stores()
    if stores.own_id is None:
        registered = RegisteredStore
        known = _ask(sa.select(registered.id).filter_by(kind=registered.Kind.FOLDER))
        if known is not None:
            expect(known.id)
    return stores.own


def wanted_id() -> uuid.UUID:
    """The `storage` of a new file. Raises Unavailable before the first start."""
    wanted()
    found = _stores().own_id
    if found is None:
        raise Unavailable("The folder for photos has no marker yet: viewer up makes it.")
    return found


def expect(identity: uuid.UUID) -> None:
    """Tell this process which marker the folder must have."""
    stores = _stores()
    stores.own.expect(str(identity))
    stores.own_id = identity


def unproven() -> Store:
    """This host's folder without the identity check, for callers that determine its identity."""
    return storage.from_url(f"folder:{settings().media_root}")


def spool() -> Spool:
    """The local folder that every file passes on its way into a store."""
    wanted()  # sets the expected identity: the spool, too, accepts nothing unless it is ours
    return _stores().spool


def store(identity: uuid.UUID) -> Store:
    """The store with this id. Raises Unavailable where this host cannot reach it."""
    own, stores = wanted(), _stores()
    if identity == stores.own_id:
        return own
    if identity not in stores.others:
        registered = RegisteredStore
        found = _ask(sa.select(registered.kind, registered.address).filter_by(id=identity))
        if found is None or found.kind is registered.Kind.FOLDER:
            raise Unavailable("This file is in a folder that this host does not have.")
        other = storage.from_url(found.address, credentials=settings().s3_credentials)
        other.expect(str(identity))
        stores.others[identity] = other
    return stores.others[identity]


def store_of(media: MediaAttachment) -> Store:
    """The store of this row's original and derivatives. Raises Unavailable."""
    return wanted() if media.storage is None else store(media.storage)


def _stores() -> _Stores:
    found: _Stores = current_app.extensions["stores"]
    return found


def _ask(query: sa.Select[*tuple[Any, ...]]) -> Any:
    """The first row, or None. Closes the transaction if this opened it."""
    is_open = db.session().in_transaction()
    with db.session.no_autoflush:
        found = db.session.execute(query).first()
    if not is_open:
        db.session.commit()  # the caller may block on a disk or a child next: hold no lock
    return found


# --- Files ---------------------------------------------------------------------------------


def open_file(
    media: MediaAttachment, key: str, start: int = 0, length: int | None = None
) -> Opened:
    """Open the original or a derivative; from the former store, where the row's own store fails.

    Raises Missing, Unavailable; for an original also WrongSize: comparing the size costs nothing,
    and finds most damage before a byte is served.
    """
    if keys.is_cached(key):
        return wanted().open(key, start, length)

    def open_in(place: Store) -> Opened:
        opened = place.open(key, start, length)
        try:
            _check_size(media, key, opened.size)
        except WrongSize:
            opened.close()
            raise
        return opened

    return _ask_stores(media, key, open_in)


def find_original(media: MediaAttachment) -> Store:
    """The store that has the original, with its size. Raises Missing, WrongSize, Unavailable."""

    def find_in(place: Store) -> Store:
        _check_size(media, media.file_path, place.stat(media.file_path).size)
        return place

    return _ask_stores(media, media.file_path, find_in)


def _check_size(media: MediaAttachment, key: str, size: int) -> None:
    if key == media.file_path and size != media.file_size:
        raise WrongSize(f"{key} has {size} bytes, not {media.file_size}")


def _ask_stores(media: MediaAttachment, key: str, ask: Callable[[Store], _Answer]) -> _Answer:
    troubles: list[StorageError] = []
    for identity in filter(None, (media.storage, media.former_storage)):
        try:
            answer = ask(store(identity))
        except StorageError as trouble:
            troubles.append(trouble)
            continue
        if troubles:
            log.warning("media=%s is read from its former store: %s", media.id, troubles[0])
        return answer
    if not troubles:
        raise Missing(f"{key} is in no store")
    # A store that does not answer may have the file: then nobody may call it missing.
    raise next((one for one in troubles if isinstance(one, Unavailable)), troubles[0])


def check_file(media: MediaAttachment) -> Finding:
    """Compare the original's bytes with the row's checksum. Slow: hold no transaction open.

    Raises Unavailable if the store does not answer, which says nothing about the file.
    """
    return compare_bytes(store_of(media), media.file_path, media.sha256)


def compare_bytes(place: Store, key: str, sha256: str | None) -> Finding:
    """Compare all bytes of a file with a checksum. Raises Unavailable."""
    try:
        found = checksum(place.open(key))
    except Missing:
        return Finding.MISSING
    return Finding.SAME if found.sha256 == sha256 else Finding.DIFFERENT


def compare_size(place: Store, key: str, size: int) -> Finding:
    """Compare the size of a file. Raises Unavailable."""
    try:
        found = place.stat(key)
    except Missing:
        return Finding.MISSING
    return Finding.SAME if found.size == size else Finding.DIFFERENT
