"""Read and hash originals, those first that were not read for the longest time."""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa

from viewer import holdings
from viewer.extensions import begin_writing, db, now
from viewer.holdings import Finding
from viewer.models import MediaAttachment
from viewer.office import findings
from viewer.storage import Store
from viewer.upkeep.verify.presence import Row

BATCH = 100  # rows of one query, and of one commit


@dataclass(slots=True)
class Slice:
    """What was read."""

    files: int = 0
    size: int = 0  # bytes
    bad: list[tuple[Row, Finding]] = field(default_factory=list)


def read(
    store: Store,
    storage: uuid.UUID,
    before: datetime,
    quota: int | None,
    most_bad: Callable[[int], int],
    advance: Callable[[int], None],
    *,
    gently: bool,
) -> Slice:
    """Read originals last verified `before`, until `quota` bytes are read (None: all of them).

    Right ones get a new `verified_at`. Stops early once more than `most_bad(files)` of the files so
    far are bad. `gently`: rest as long as each file took, so that whoever looks at photos does not
    notice. Raises Unavailable.
    """
    found = Slice()
    skipped: set[uuid.UUID] = set()  # bad ones, which come first again in each query
    while rows := _oldest(storage, before, skipped):
        right = []
        for row in rows:
            begun = time.monotonic()
            finding = _check(store, row)
            found.files += 1
            found.size += row.size
            if finding is Finding.SAME:
                right.append(row.id)
            else:
                found.bad.append((row, finding))
                skipped.add(row.id)
            advance(row.size)
            if quota is not None and found.size >= quota:
                _write_verified(right)
                return found
            if gently:
                time.sleep(min(1.0, time.monotonic() - begun))
        _write_verified(right)
        if len(found.bad) > most_bad(found.files):
            return found
    return found


def _check(store: Store, row: Row) -> Finding:
    """Compare the bytes with the row; read them a second time before calling them wrong."""
    finding = holdings.compare_bytes(store, row.key, row.sha256)
    if finding is Finding.SAME:
        return finding
    return holdings.compare_bytes(store, row.key, row.sha256)


def _oldest(storage: uuid.UUID, before: datetime, skipped: set[uuid.UUID]) -> Sequence[Row]:
    media = MediaAttachment
    found = db.session.execute(
        sa.select(media.id, media.file_path, media.file_size, media.sha256)
        .where(media.is_in("kept"), media.storage == storage, ~findings.is_known_damaged())
        .where(media.verified_at < before)
        .order_by(media.verified_at)
        .limit(BATCH + len(skipped))
    ).all()
    db.session.commit()
    return [
        Row(identity, key, size or 0, sha256 or "")
        for identity, key, size, sha256 in found
        if identity not in skipped
    ][:BATCH]


def _write_verified(right: list[uuid.UUID]) -> None:
    if not right:
        return
    begin_writing()
    media = MediaAttachment
    db.session.execute(
        sa.update(media)
        .where(media.id.in_(right), ~findings.is_known_damaged())
        .values(verified_at=now())
        .execution_options(synchronize_session=False)
    )
    db.session.commit()
