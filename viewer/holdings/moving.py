"""Move one row's bytes to another store: copy, compare, and only then let the row name it.

 1. read the row: it has bytes, in another store than the target
 2. open the original at its store and hash it: wrong bytes are moved nowhere
 3. place it at the target under its own key, where nothing is ever replaced; the same bytes that
    lie there already are adopted, other bytes are a stranger's and stop this row
 4. the store compares what it has with the checksum (`Store.place` returns only then)
 5. the same for each derivative; one that cannot be read is made again
 6. let the row name the target, if it still says what was read; its former store keeps everything

Killed anywhere, it is done again from the start: what was placed is adopted. The copy at the former
store goes much later (`clear_former`), row by row, and only after the new one was read once more.
Meanwhile the row has no `moved_at`, and is moved nowhere.
"""

import contextlib
import enum
import functools
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa

from viewer.extensions import db, now, one_query
from viewer.failpoint import failpoint
from viewer.holdings.files import Finding, compare_bytes
from viewer.holdings.stores import spool, store
from viewer.models import MediaAttachment, RegisteredStore
from viewer.storage import Missing, Occupied, StorageError, Store, checksum, keys

_CHUNK = 1024 * 1024  # bytes
_ANYTIME = contextlib.nullcontext()
State = MediaAttachment.State
CopyState = MediaAttachment.CopyState


class WrongBytes(StorageError):
    """The original at its store is not what its row says."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"The original is {finding} at its store.")
        self.finding = finding


class StrangeFile(StorageError):
    """Another file lies under the row's key at the target. It stays, and so does ours."""


class Outcome(enum.StrEnum):
    MOVED = "moved"
    NOTHING_TO_DO = "nothing to do"  # it is there already, or has no bytes
    CHANGED = "changed"  # the row became another meanwhile: try again
    HELD = "held"  # an earlier move or a replacement is not over yet: try again later


@dataclass(frozen=True, slots=True)
class Moved:
    outcome: Outcome
    size: int = 0  # bytes of original and derivatives that were read


_table = cast(sa.Table, MediaAttachment.__table__)
_media = _table.c
_COPIES = ("thumbnail_path", "preview_path", "full_path", "playable_path")
# What must not change between the reading and the naming.
_SAME = (
    "file_path", "sha256", "storage", "former_storage", "moved_at", "superseded_path", *_COPIES
)  # fmt: skip
_ROW = sa.select(
    _media.id, _media.state, _media.file_size, *(_media[name] for name in _SAME)
).where(_media.id == sa.bindparam("media_id"), MediaAttachment.is_in("kept"))


def move(
    media_id: uuid.UUID,
    target_id: uuid.UUID,
    *,
    if_wanted: bool = False,
    turn: contextlib.AbstractContextManager[object] = _ANYTIME,
) -> Moved:
    """Move this row's original and derivatives. Commits. Hold no transaction open.

    `if_wanted`: only if the target still is the store for new files as the row changes. `turn` is
    held while the row is written. Raises WrongBytes, StrangeFile, Unavailable; then the row says
    what it said before.
    """
    with one_query() as connection:
        row = connection.execute(_ROW, {"media_id": media_id}).first()
    if row is None or row.storage in (None, target_id) or not row.sha256:
        return Moved(Outcome.NOTHING_TO_DO)
    is_being_cleared = row.former_storage is not None and row.moved_at is None
    if row.superseded_path or is_being_cleared or row.former_storage not in (None, target_id):
        return Moved(Outcome.HELD)
    source, target = store(row.storage), store(target_id)
    _bring_original(source, target, row)
    failpoint("move.placed")
    size, lost = row.file_size or 0, False
    for name in _COPIES:
        key = getattr(row, name)
        if key is None:
            continue
        found = _bring_copy(source, target, key)
        size, lost = size + (found or 0), lost or found is None
    failpoint("move.copied")
    with turn:
        is_named = _name(row, target_id, lost, if_wanted)
    if is_named:
        return Moved(Outcome.MOVED, size)
    _leave_nothing(row, target_id)
    return Moved(Outcome.CHANGED, size)


def _bring_original(source: Store, target: Store, row: sa.Row[Any]) -> None:
    with _sealed(source, target, row.file_path) as (path, sha256):
        if sha256 != row.sha256:
            raise WrongBytes(Finding.DIFFERENT)
        try:
            target.place(row.file_path, path)
            return
        except Occupied:
            pass
    if compare_bytes(target, row.file_path, row.sha256) is not Finding.SAME:
        raise StrangeFile(f"A strange file lies under {row.file_path} at {target.address}.")
    target.settle(row.file_path)


def _bring_copy(source: Store, target: Store, key: str) -> int | None:
    """How many bytes; None if it cannot be read: it is made again, as all derivatives can be."""
    try:
        with _sealed(source, target, key) as (path, sha256):
            size = path.stat().st_size
            try:
                target.place(key, path)
            except Occupied:
                if compare_bytes(target, key, sha256) is not Finding.SAME:  # of an earlier making
                    target.remove(key)
                    target.place(key, path)
        return size
    except (Missing, WrongBytes):
        return None


@contextlib.contextmanager
def _sealed(source: Store, target: Store, key: str) -> Iterator[tuple[Path, str]]:
    """A finished local file with these bytes, and its SHA-256. Raises WrongBytes, Unavailable.

    The file itself, where it goes from this host's disk into a bucket; else a copy in the spool:
    two folders must not share one file, which damage would reach in both.
    """
    here = source.local_path(key)
    try:
        if here is not None and target.local_path(key) is None:
            yield here, checksum(source.open(key)).sha256
            return
        opened = source.open(key)
    except Missing:
        raise WrongBytes(Finding.MISSING) from None
    part = spool().new_part()
    try:
        with opened:
            shutil.copyfileobj(opened, part, _CHUNK)
        part.seal()
        yield part.path, checksum(part.path.open("rb")).sha256
    finally:
        part.discard()


def _name(row: sa.Row[Any], target_id: uuid.UUID, lost: bool, if_wanted: bool) -> bool:
    """Let the row name its new store, if it still is what was read. Commits."""
    is_derived_again = lost and row.state == State.STORED
    read = {f"read_{name}": getattr(row, name) for name in _SAME}
    done = db.session.execute(
        _naming(is_derived_again, if_wanted),
        {"media_id": row.id, "target_id": target_id, "moment": now(), **read},
    )
    db.session.commit()
    failpoint("move.named")
    return bool(done.rowcount)  # type: ignore[attr-defined]


@functools.cache
def _naming(is_derived_again: bool, if_wanted: bool) -> sa.Update:
    """The statement is made once: making and compiling it anew costs more than running it."""
    moment = sa.bindparam("moment", type_=_media.moved_at.type)
    target = sa.bindparam("target_id", type_=_media.storage.type)
    changes: dict[str, Any] = {
        "storage": target,
        "former_storage": _media.storage,
        "moved_at": moment,
        "push_wanted_at": None,
        "push_due_at": None,
        "push_attempts": 0,
        "push_problem": None,
    }
    if is_derived_again:
        changes |= {"copy_state": CopyState.DUE, "copy_due_at": moment, "copy_attempts": 0}
    conditions = [
        _media[name].is_not_distinct_from(sa.bindparam(f"read_{name}", type_=_media[name].type))
        for name in _SAME
    ]
    if if_wanted:
        conditions.append(
            sa.exists().where(RegisteredStore.id == target, RegisteredStore.is_wanted)
        )
    return (
        sa.update(_table)
        .where(_media.id == sa.bindparam("media_id"), MediaAttachment.is_in("kept"), *conditions)
        .values(changes)
    )


def _leave_nothing(row: sa.Row[Any], target_id: uuid.UUID) -> None:
    """Account for what was placed for a row that could not name it. Commits. Raises Unavailable.

    Where the original still is what was read, the target counts as its former store and is cleared
    like one, whatever became of its derivatives: another run may be about to name it, so nothing is
    removed here.
    """
    is_noted = MediaAttachment.change_if(
        row.id,
        MediaAttachment.is_in("kept"),
        *(_media[name] == getattr(row, name) for name in ("file_path", "sha256", "storage")),
        _media.former_storage.is_(None),
        former_storage=target_id,
        moved_at=now(),
    )
    db.session.commit()
    if is_noted:
        return
    with one_query() as connection:
        found = connection.execute(_ROW, {"media_id": row.id}).first()
    if found is None or found.file_path != row.file_path:  # purged, or replaced by all of it
        for key in (row.file_path, *keys.derivatives(row.file_path)):
            store(target_id).remove(key)


def clear_former(media_id: uuid.UUID, before: datetime) -> bool:
    """Remove what a moved row's former store still has of it. Whether it did. Commits.

    Only if it was moved `before`, and after the new original was read completely, here and now.
    The caller knows a verified backup that began later than that. Raises WrongBytes, Unavailable.
    """
    with one_query() as connection:
        row = connection.execute(
            _ROW.where(
                _media.former_storage.is_not(None),
                _media.superseded_path.is_(None),
                sa.func.coalesce(_media.moved_at < before, sa.true()),  # or it was begun already
            ),
            {"media_id": media_id},
        ).first()
    if row is None:
        return False
    former = store(row.former_storage)
    finding = compare_bytes(store(row.storage), row.file_path, row.sha256)
    if finding is not Finding.SAME:
        raise WrongBytes(finding)
    failpoint("clear.read")
    is_ours = MediaAttachment.change_if(row.id, *_is_still(row), moved_at=None, verified_at=now())
    db.session.commit()
    if not is_ours:
        return False
    failpoint("clear.begun")
    for key in (row.file_path, *keys.derivatives(row.file_path)):
        former.remove(key)
    failpoint("clear.removed")
    MediaAttachment.change_if(
        row.id,
        _media.former_storage == row.former_storage,
        _media.moved_at.is_(None),
        former_storage=None,
        moved_at=row.moved_at or now(),
    )
    db.session.commit()
    return True


def _is_still(row: sa.Row[Any]) -> Iterator[sa.ColumnElement[bool]]:
    return (_media[name].is_not_distinct_from(getattr(row, name)) for name in _SAME)
