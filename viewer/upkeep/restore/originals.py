"""Bring originals and their derivatives from a target's pool into this host's folder."""

import contextlib
import enum
import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from viewer import holdings
from viewer.extensions import db
from viewer.failpoint import failpoint
from viewer.holdings import Finding
from viewer.models import MediaAttachment
from viewer.models.indexes import beyond
from viewer.office import findings
from viewer.storage import Missing, Occupied, Part, Store, Unavailable
from viewer.upkeep.backup import source
from viewer.upkeep.backup.snapshots import POOL
from viewer.upkeep.backup.targets.target import LostTarget, Target

BATCH = 1000  # rows of one query
_CHUNK = 1024 * 1024  # bytes


class Step(enum.StrEnum):
    """What became of one original."""

    THERE = "there already"
    RESTORED = "restored"
    NOT_IN_BACKUP = "not in the backup"
    WRONG_IN_BACKUP = "wrong in the backup"
    UNREADABLE = "not readable in the backup"
    IN_THE_WAY = "wrong in MEDIA_ROOT, where nothing is overwritten"

    @property
    def is_right(self) -> bool:
        return self in (Step.THERE, Step.RESTORED)

    @property
    def finding(self) -> Finding:
        """What is to be said of the file in the folder."""
        if self.is_right:
            return Finding.SAME
        return Finding.DIFFERENT if self is Step.IN_THE_WAY else Finding.MISSING


@dataclass(frozen=True, slots=True)
class Row:
    """An original as its row describes it."""

    id: uuid.UUID
    key: str
    size: int
    sha256: str
    derivatives: tuple[str, ...]
    is_damaged: bool  # and known to be


@dataclass(frozen=True, slots=True)
class Outcome:
    step: Step
    lacks_derivatives: bool


class _Unreadable(Exception):
    """The target does not give the bytes of this file."""


def rows_of(storage: uuid.UUID) -> Iterator[Row]:
    """Every row with bytes in this store, newest first, without an open transaction.

    In the order of an index, and the store is compared here: by an index of the stores each page
    would sort all rows that follow.
    """
    media = MediaAttachment
    order = (media.sent_at, media.message_id, media.position, media.id)
    query = (
        sa.select(
            *order, media.file_path, media.file_size, media.sha256, media.storage,
            media.thumbnail_path, media.preview_path, media.full_path, media.playable_path,
            findings.is_known_damaged().label("is_damaged"),
        )
        .where(media.is_in("kept"), media.sha256.is_not(None))
        .order_by(*(column.desc() for column in order))
        .limit(BATCH)
    )  # fmt: skip
    page = query
    while found := db.session.execute(page).all():
        db.session.commit()  # copying is slow
        for row in found:
            copies = (row.thumbnail_path, row.preview_path, row.full_path, row.playable_path)
            if row.storage == storage:
                yield Row(
                    row.id, row.file_path, row.file_size or 0, row.sha256,
                    tuple(key for key in copies if key), bool(row.is_damaged),
                )  # fmt: skip
        page = query.where(beyond(order, found[-1][: len(order)], forward=False))
    db.session.commit()


def count(storage: uuid.UUID) -> int:
    media = MediaAttachment
    found = db.session.scalar(
        sa.select(sa.func.count()).where(
            media.is_in("kept"), media.sha256.is_not(None), media.storage == storage
        )
    )
    db.session.commit()
    return found or 0


def bring(target: Target, row: Row) -> Outcome:
    """See that the original is in the folder, and its derivatives where the pool has them.

    Raises LostTarget; Unavailable if the folder takes nothing.
    """
    step = _bring_original(target, row)
    has_all = [bring_derivative(target, key, holdings.own()) for key in row.derivatives]
    return Outcome(step, not all(has_all))


def bring_derivative(target: Target, key: str, store: Store) -> bool:
    """Whether it is in the store now. Raises LostTarget; Unavailable if the store takes none."""
    try:
        store.stat(key)
        return True
    except Missing:
        pass
    with _new_part() as part:
        try:
            _fill(part, target, key)
        except (Missing, _Unreadable):
            must_be_there(target)
            return False
        _place(store, key, part)
    return True


def must_be_there(target: Target) -> None:
    """Tell one bad file from a target that is gone. Raises LostTarget."""
    if target.store.is_away():
        raise LostTarget("The target is not there any more: is its disk mounted?")


def _bring_original(target: Target, row: Row) -> Step:
    store = holdings.own()
    found = holdings.compare_bytes(store, row.key, row.sha256)
    if found is Finding.SAME:
        return Step.THERE
    if found is Finding.DIFFERENT:
        return Step.IN_THE_WAY
    with _new_part() as part:
        try:
            if _fill(part, target, row.key) == row.sha256:
                _place(holdings.own(), row.key, part)
                return Step.RESTORED
            trouble = Step.WRONG_IN_BACKUP
        except Missing:
            trouble = Step.NOT_IN_BACKUP
        except _Unreadable:
            trouble = Step.UNREADABLE
    must_be_there(target)
    return Step.RESTORED if _bring_twin(target, row) else trouble


def _bring_twin(target: Target, row: Row) -> bool:
    """The same bytes may lie in the pool under the key of another row."""
    with _new_part() as part:
        if not source.fill_by_key(target, row.key, row.sha256, part):
            return False
        _place(holdings.own(), row.key, part)
    return True


def _fill(part: Part, target: Target, key: str) -> str:
    """The hash of what was read. Raises Missing, _Unreadable; Unavailable for the part."""
    digest = hashlib.sha256()
    with _readable():
        opened = target.store.open(POOL + key)
    with opened:
        while True:
            with _readable():
                chunk = opened.read(_CHUNK)
            if not chunk:
                return digest.hexdigest()
            digest.update(chunk)
            part.write(chunk)


def _place(store: Store, key: str, part: Part) -> None:
    part.seal()
    failpoint("restore.sealed")
    try:
        store.place(key, part.path)
    except Occupied:  # somebody was quicker
        store.settle(key)
    failpoint("restore.placed")


@contextlib.contextmanager
def _new_part() -> Iterator[Part]:
    part = holdings.spool().new_part()
    try:
        yield part
    finally:
        part.discard()


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except Unavailable as trouble:
        raise _Unreadable from trouble
