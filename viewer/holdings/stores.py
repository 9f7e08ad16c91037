"""The stores of one application: this host's own folder, and the others once they are needed."""

import contextlib
import math
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from flask import Flask, current_app
from sqlalchemy.exc import SQLAlchemyError

from viewer import storage
from viewer.config import settings
from viewer.extensions import db, one_query
from viewer.models import MediaAttachment, RegisteredStore
from viewer.storage import Spool, Store, Unavailable

_ORIGINS_LAST = 60.0  # seconds; a move may make another store the wanted one
_NONE = ""  # a marker that no folder has: what is expected of one whose marker nobody knows


class _Stores:
    def __init__(self, app: Flask) -> None:
        found = app.config["SETTINGS"]
        self.own = storage.from_url(f"folder:{found.media_root}", found.X_ACCEL_PREFIX)
        self.own_id: uuid.UUID | None = None  # not known before the database was asked
        self.spool = storage.Workspace(found.media_root, self.own)
        self.others: dict[uuid.UUID, Store] = {}
        self.origins: tuple[str, ...] = ()  # of those to which a browser may be sent
        self.origins_until = -math.inf


def init_app(app: Flask) -> None:
    app.extensions["stores"] = _Stores(app)


def own() -> Store:
    """This host's folder. It gives and takes nothing unless its marker is one of ours.

    The expected identity is found on first use in each process, so the check works under any WSGI
    server. Operations on the store raise Unavailable on a mismatch.
    """
    stores = _stores()
    if stores.own_id is None:
        registered = RegisteredStore
        known = _ask(sa.select(registered.id).where(registered.is_folder_in_use()))
        if len(known) == 1:  # then no disk has to be asked
            expect(known[0].id)
        elif known:
            _recognise([row.id for row in known])
    return stores.own


def _recognise(known: Sequence[uuid.UUID]) -> None:
    """On one of several hosts only the marker tells which folder this is."""
    marker = unproven().identity()
    if marker is not None and marker in map(str, known):
        expect(uuid.UUID(marker))
    else:
        _stores().own.expect(_NONE)


def own_id() -> uuid.UUID:
    """The `storage` of a file in this host's folder. Raises Unavailable before the first start."""
    found = own()
    identity = _stores().own_id
    if identity is None:
        raise Unavailable(
            found.why_away() or "The folder for photos has no marker yet: viewer up makes it."
        )
    return identity


def own_id_if_known() -> uuid.UUID | None:
    """The same; None before the first start, or without its disk."""
    try:
        return own_id()
    except Unavailable:
        return None


def wanted_id() -> uuid.UUID:
    """The store for new files: the one that was chosen, else this host's own. Raises Unavailable.

    Asked each time: `viewer storage move` changes it under running workers.
    """
    chosen = _ask(sa.select(RegisteredStore.id).where(RegisteredStore.is_wanted))
    return chosen[0].id if chosen else own_id()


def expect(identity: uuid.UUID) -> None:
    """Tell this process which marker its folder must have."""
    stores = _stores()
    stores.own.expect(str(identity))
    stores.own_id = identity


def unproven() -> Store:
    """This host's folder without the identity check, for callers that determine its identity."""
    return storage.from_url(f"folder:{settings().media_root}")


def spool() -> Spool:
    """The local folder that every file passes on its way into a store."""
    own()  # sets the expected identity: the spool, too, accepts nothing unless it is ours
    return _stores().spool


def store(identity: uuid.UUID) -> Store:
    """The store with this id. Raises Unavailable where this host cannot reach it."""
    here, stores = own(), _stores()
    if identity == stores.own_id:
        return here
    if identity not in stores.others:
        registered = RegisteredStore
        found = _ask(sa.select(registered.kind, registered.address).filter_by(id=identity))
        if not found or found[0].kind is registered.Kind.FOLDER:
            raise Unavailable("This file is in a folder that this host does not have.")
        current = settings()
        other = storage.from_url(
            found[0].address,
            current.X_ACCEL_S3_PREFIX if found[0].address.startswith("s3:") else "",
            current.s3_credentials,
            window=current.signed_window,
        )
        other.expect(str(identity))
        stores.others[identity] = other
    return stores.others[identity]


def browser_origins() -> tuple[str, ...]:
    """Where a browser is sent for files (MEDIA_REDIRECT): a scheme and a host each.

    As of a minute ago, and as of before where the database does not answer.
    """
    if cdn := settings().CDN_URL:
        return (cdn,)
    stores = _stores()
    if time.monotonic() > stores.origins_until:
        with contextlib.suppress(SQLAlchemyError):
            stores.origins = tuple(sorted(set(_origins())))
            stores.origins_until = time.monotonic() + _ORIGINS_LAST
    return stores.origins


def _origins() -> Iterator[str]:
    registered = RegisteredStore
    is_bucket = registered.kind == registered.Kind.S3
    for row in _ask(sa.select(registered.id).where(is_bucket, registered.retired_at.is_(None))):
        with contextlib.suppress(Unavailable):
            if address := store(row.id).signed_address("a", {}):
                parts = urlsplit(address)
                yield f"{parts.scheme}://{parts.netloc}"


def store_of(media: MediaAttachment) -> Store:
    """The store of this row's original and derivatives. Raises Unavailable."""
    return own() if media.storage is None else store(media.storage)


def remove_everywhere(media: MediaAttachment, names: Iterable[str]) -> None:
    """Remove these keys of the row from each store that may have them. Raises Unavailable."""
    keys = list(names)
    for identity in {media.storage, media.former_storage, own_id()}:
        if identity is not None:
            place = store(identity)
            for key in keys:
                place.remove(key)


def is_within_reach() -> sa.ColumnElement[bool]:
    """Whether this host reaches all stores of a row: not if one is another host's folder."""
    media, registered = MediaAttachment, RegisteredStore
    theirs = sa.select(registered.id).where(
        registered.is_folder_in_use(), registered.id != own_id()
    )
    return sa.and_(
        *(
            sa.or_(one.is_(None), one.not_in(theirs))
            for one in (media.storage, media.former_storage)
        )
    )


def _stores() -> _Stores:
    found: _Stores = current_app.extensions["stores"]
    return found


def _ask(query: sa.Select[*tuple[Any, ...]]) -> Sequence[sa.Row[*tuple[Any, ...]]]:
    """All rows: in the caller's transaction, if there is one, else without any.

    The caller may block on a disk or a child next, and then holds no lock for having asked.
    """
    if db.session().in_transaction():
        with db.session.no_autoflush:
            return db.session.execute(query).all()
    with one_query() as connection:
        return connection.execute(query).all()
