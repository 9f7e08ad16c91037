"""Database and media folder belong together, or nothing starts.

A disk that is not mounted, a MEDIA_ROOT of the test system, a database restored beside a strange
folder: each would put photos where nobody looks for them.
"""

import uuid

import sqlalchemy as sa

from viewer.extensions import db, lock, media_store
from viewer.models import MediaAttachment, StoreIdentity


class WrongStore(Exception):
    """The media folder is not the one this database belongs to."""


def ensure() -> None:
    """Know each other from the first start on. Commits. Raises WrongStore."""
    store = media_store()
    found = store.identity()  # before anything is locked: a disk may hang
    known = db.session.scalar(sa.select(StoreIdentity))
    if known is None or found != str(known.id):
        known = _introduce()
    db.session.commit()
    store.expect(str(known.id))


def _introduce() -> StoreIdentity:
    """Their first meeting; one process at a time. Raises WrongStore."""
    store = media_store()
    lock("store identity")
    known = db.session.scalar(sa.select(StoreIdentity))
    found = store.identity()
    if known is None:
        if not store.is_empty():
            raise WrongStore(
                f"The media folder {store.root} belongs to another database, or holds files that "
                "this one does not know. Set MEDIA_ROOT to an empty folder, or DATABASE_URL to "
                "the database that goes with it."
            )
        known = StoreIdentity(id=uuid.uuid4())
        db.session.add(known)
        db.session.commit()
        lock("store identity")
        found = store.identity()
    if found is None and store.is_empty() and _has_no_media():
        store.mark(str(known.id))  # the first start, or the next after one that died right here
    elif found != str(known.id):
        raise WrongStore(
            f"The media folder {store.root} "
            + ("is another database's." if found else "has no marker: is its disk mounted?")
        )
    return known


def _has_no_media() -> bool:
    return db.session.scalar(sa.select(MediaAttachment.id).limit(1)) is None
