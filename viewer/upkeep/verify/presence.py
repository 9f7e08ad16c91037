"""Compare the list of a store's files with the rows: what is missing, what nobody names."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

import sqlalchemy as sa

from viewer import holdings
from viewer.extensions import db, now
from viewer.holdings import Finding
from viewer.models import MediaAttachment
from viewer.office import findings
from viewer.storage import Store, keys
from viewer.upkeep.verify.key_set import KeySet

BATCH = 1000  # keys, and rows, of one query
MOVED_LATELY = timedelta(hours=1)
LISTED = 100  # orphans that are named; all are counted


@dataclass(frozen=True, slots=True)
class Row:
    """What a row says of its original."""

    id: uuid.UUID
    key: str
    size: int
    sha256: str


@dataclass(slots=True)
class Orphans:
    """Files of originals that no row names. Never deleted: a late event may ask for one."""

    count: int = 0
    size: int = 0  # bytes
    keys: list[str] = field(default_factory=list)  # the first ones


@dataclass(slots=True)
class Presence:
    """What the list of files showed."""

    rows: int = 0
    bad: list[tuple[Row, Finding]] = field(default_factory=list)
    without_copies: list[uuid.UUID] = field(default_factory=list)  # a derivative is missing
    orphans: Orphans = field(default_factory=Orphans)
    original_size: int = 0  # bytes of all originals that lie there
    copy_size: int = 0  # bytes of all derivatives


def compare(
    store: Store,
    storage: uuid.UUID,
    before: datetime,
    most_bad: int,
    advance: Callable[[int], None],
) -> Presence:
    """Compare the files of `store` with the rows that were stored in it `before`.

    Stops early once more than `most_bad` are bad. Raises Unavailable.
    """
    found = Presence()
    here = _list_files(store, storage, found)
    for batch in _batches(storage, before):
        for row, copies in batch:
            found.rows += 1
            finding = Finding.SAME
            if _entry(row.key, row.size) not in here:  # perhaps it came after the list was made
                finding = holdings.compare_size(store, row.key, row.size)
            if finding is not Finding.SAME:
                found.bad.append((row, finding))
            elif any(key not in here for key in copies):
                found.without_copies.append(row.id)
        if len(found.bad) > most_bad:
            return found
        advance(len(batch))
    return found


def totals(storage: uuid.UUID) -> tuple[int, int]:
    """How many rows have their bytes in this store, and how many bytes these are."""
    media = MediaAttachment
    query = sa.select(sa.func.count(), sa.func.sum(media.file_size))
    files, size = db.session.execute(
        query.where(media.is_in("kept"), media.storage == storage)
    ).one()
    db.session.commit()
    return files, int(size or 0)


def _entry(key: str, size: int) -> str:
    return f"{key} {size}"


def _list_files(store: Store, storage: uuid.UUID, found: Presence) -> KeySet:
    here, orphans = KeySet(), found.orphans
    is_named = _is_named(storage)
    listed = store.keys()
    while batch := list(islice(listed, BATCH)):
        files = {key: size for key, size in batch if keys.is_media(key)}
        for key, size in files.items():
            if keys.is_derivative(key):
                here.add(key)
                found.copy_size += size
            else:
                here.add(_entry(key, size))
                found.original_size += size
        for key in _unnamed(files, is_named):
            orphans.count += 1
            orphans.size += files[key]
            if len(orphans.keys) < LISTED:
                orphans.keys.append(key)
    return here


def _is_named(storage: uuid.UUID) -> sa.ColumnElement[bool]:
    """Whether a row's file may lie in this store: also what was just placed, before it is said."""
    media = MediaAttachment
    if storage == holdings.wanted_id():
        return sa.true()  # it is perhaps being moved here
    return (
        (media.storage == storage)
        | media.storage.is_(None)
        | (media.former_storage == storage)
        | media.moved_at.is_(None)
        | (media.moved_at > now() - MOVED_LATELY)
    )


def _unnamed(files: dict[str, int], is_named: sa.ColumnElement[bool]) -> list[str]:
    """The originals among these that no row names as one of this store."""
    originals = [key for key in files if not keys.is_derivative(key)]
    media = MediaAttachment
    named = set(
        db.session.scalars(
            sa.select(media.file_path).where(media.file_path.in_(originals), is_named)
        )
    )
    db.session.commit()
    return [key for key in originals if key not in named]


def _batches(
    storage: uuid.UUID, before: datetime
) -> Iterator[Sequence[tuple[Row, tuple[str, ...]]]]:
    """All rows with bytes in this store, and the keys of their derivatives."""
    media, last = MediaAttachment, ""
    copies = (media.thumbnail_path, media.preview_path, media.full_path, media.playable_path)
    query = (
        sa.select(media.id, media.file_path, media.file_size, media.sha256, media.storage, *copies)
        # Not for the store: SQLite would then sort all of its rows for each page.
        .where(media.is_in("kept"), media.downloaded_at < before)
        .where(~findings.is_known_damaged())
        # By name, so by day, as the rows were written: by id each would be read from another page.
        .order_by(media.file_path)
        .limit(BATCH)
    )
    while rows := db.session.execute(query.where(media.file_path > last)).all():
        db.session.commit()  # looking at files is slow: hold no transaction
        last = rows[-1].file_path
        yield [
            (
                Row(identity, key, size or 0, sha256 or ""),
                tuple(filter(None, derivatives)),
            )
            for identity, key, size, sha256, is_in, *derivatives in rows
            if is_in == storage
        ]
    db.session.commit()
