"""Choose the store that files are moved to: tried before it is trusted, and marked as ours."""

import shutil
import uuid
from dataclasses import dataclass

import sqlalchemy as sa

from viewer import holdings, storage
from viewer.config import settings
from viewer.extensions import begin_writing, db
from viewer.models import MediaAttachment, RegisteredStore
from viewer.storage import StorageError, Store, Unavailable, UnknownStore, UnsafeStore
from viewer.upkeep.progress import size_in_words

Kind = RegisteredStore.Kind


class CannotMove(Exception):
    """The files cannot be moved there. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Target:
    """A store, and its row."""

    id: uuid.UUID
    store: Store
    is_new: bool = False  # neither row nor marker yet


def find(url: str) -> Target:
    """The store at this address, tried, with nothing changed. Raises CannotMove."""
    try:
        return _own(url) if url.startswith(("folder:", "/")) else _bucket(url)
    except UnknownStore as trouble:
        raise CannotMove(str(trouble)) from None
    except (UnsafeStore, Unavailable) as trouble:
        raise CannotMove(f"{url} cannot be used. {trouble}") from None


def check_room(target: Target, size: int) -> None:
    """Raises CannotMove if so many bytes fit nowhere. A bucket takes any number."""
    root = target.store.local_path("room")
    if root is not None and (free := shutil.disk_usage(root.parent).free) < size:
        raise CannotMove(
            f"{target.store.address} has {size_in_words(free)} free, and {size_in_words(size)} "
            "would come."
        )


def take(target: Target) -> None:
    """Register and mark the store, and make it the one for new files. Idempotent. Commits.

    First of all: else the scheduled task of another host would push back what was just moved.
    Raises CannotMove.
    """
    if target.is_new:
        begin_writing()
        if db.session.get(RegisteredStore, target.id) is None:
            row = RegisteredStore(id=target.id, kind=Kind.S3, address=target.store.address)
            db.session.add(row)
        db.session.commit()
        try:
            target.store.mark(str(target.id))
            target.store.expect(str(target.id))
        except StorageError as trouble:
            raise CannotMove(f"{target.store.address} cannot be marked. {trouble}") from None
    want(target.id)


def want(identity: uuid.UUID) -> None:
    """Let new files go to this store; to each host's own folder, if it is one. Commits."""
    begin_writing()
    stores = RegisteredStore
    for is_it, which in (
        (False, stores.is_wanted & ((stores.id != identity) | (stores.kind == Kind.FOLDER))),
        (True, (stores.id == identity) & (stores.kind != Kind.FOLDER)),
    ):
        db.session.execute(
            sa.update(stores)
            .where(which)
            .values(is_wanted=is_it)
            .execution_options(synchronize_session=False)
        )
    db.session.commit()


def _own(url: str) -> Target:
    root = f"folder:{settings().media_root}"
    if url != "folder:" and storage.normalise(url) != root:
        raise CannotMove(
            f"Files are kept in S3 or in this host's MEDIA_ROOT, which is {root}. For another "
            "folder: stop the viewer, copy everything, set MEDIA_ROOT, and let it be compared: "
            "viewer storage adopt"
        )
    return Target(holdings.own_id(), holdings.own())


def _bucket(url: str) -> Target:
    address = storage.normalise(url)
    if not address.startswith("s3:"):
        raise CannotMove("Files are kept in S3 or in a folder: s3://bucket/prefix?region=…")
    store = storage.from_url(address, credentials=settings().s3_credentials)
    known = db.session.scalar(
        sa.select(RegisteredStore).filter_by(kind=Kind.S3, address=address, retired_at=None)
    )
    db.session.commit()  # a bucket may take its time to answer
    found = store.identity()
    if found is not None and (known is None or found != str(known.id)):
        raise CannotMove(f"{address} is another viewer's: name another bucket or prefix.")
    if found is not None and known is not None:
        store.expect(found)
        storage.probe(store)
        return Target(known.id, store)
    if known is not None and _is_named(known.id):
        raise CannotMove(
            f"{address} has no marker any more, but files of this viewer are said to be there. Is "
            "it the same bucket? If it is lost for good: viewer storage lost "
            f"{known.id}"
        )
    if not store.is_empty():
        raise CannotMove(f"{address} holds other files: name an empty bucket or prefix.")
    storage.probe(store)
    return Target(known.id if known else uuid.uuid4(), store, is_new=True)


def _is_named(identity: uuid.UUID) -> bool:
    media = MediaAttachment
    named = (media.storage == identity) | (media.former_storage == identity)
    found = db.session.scalar(sa.select(media.id).where(named).limit(1))
    db.session.commit()
    return found is not None
