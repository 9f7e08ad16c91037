"""Bring the originals that a running viewer misses back from a backup, as repairs.

Every original is read and compared, whatever its row says: unlike verify, a person asked for it,
so many bad files at once are no reason to stop.
"""

import logging
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from viewer import holdings
from viewer.extensions import begin_writing, db
from viewer.failpoint import failpoint
from viewer.holdings import Finding
from viewer.intake import derivatives
from viewer.models import MediaAttachment, RegisteredStore, UpkeepRun
from viewer.office import findings
from viewer.plurals import counted
from viewer.storage import Missing, Part, StorageError, Store
from viewer.upkeep import runs
from viewer.upkeep.backup import source
from viewer.upkeep.backup.targets.target import LostTarget, Target
from viewer.upkeep.progress import Progress, Unwatched
from viewer.upkeep.restore import originals
from viewer.upkeep.restore.originals import Row
from viewer.upkeep.threads import in_threads
from viewer.upkeep.verify import repair

log = logging.getLogger(__name__)

LISTED = 1000  # bad files that are named

Outcomes = UpkeepRun.Outcome


@dataclass(slots=True)
class Result:
    """How it ended."""

    files: int = 0  # originals that were looked at
    back: int = 0
    bad: dict[str, str] = field(default_factory=dict)  # key: what is wrong still; the first ones
    still_bad: int = 0
    derivatives: int = 0  # brought back, too
    problem: str | None = None  # why it did not go on

    @property
    def outcome(self) -> Outcomes:
        if self.problem:
            return Outcomes.FAILED
        return Outcomes.BAD if self.still_bad else Outcomes.GOOD

    def __str__(self) -> str:
        said = f"{counted(self.files, 'original')} read, {self.back:,} brought back"
        if self.still_bad:
            said += f", {self.still_bad:,} still missing or wrong"
        return f"{said}. {self.problem or ''}".strip()

    def counts(self) -> dict[str, Any]:
        """The figures for the record."""
        return {
            "files": self.files,
            "back": self.back,
            "still_bad": self.still_bad,
            "derivatives": self.derivatives,
            "bad": self.bad,
        }


@dataclass(frozen=True, slots=True)
class _Mended:
    finding: Finding | None  # what was wrong; None: its row changed meanwhile
    is_right: bool
    derivatives: int


def bring_back(target: Target, progress: Progress | None = None) -> Result:
    """Repair every original that is absent or wrong, from this target. Records the run; commits."""
    result, progress = Result(), progress or Unwatched()
    run = runs.begin(runs.Kind.RESTORE, target.url)
    for storage in _stores():
        progress.begin("comparing", originals.count(storage))
        try:
            _bring_back_in(storage, target, result, progress)
        except StorageError as trouble:  # the other stores may answer
            result.problem = str(trouble)
        except LostTarget as trouble:
            result.problem = str(trouble)
            break
    runs.finish(run, result.outcome, str(result), result.counts())
    return result


def _bring_back_in(storage: uuid.UUID, target: Target, result: Result, progress: Progress) -> None:
    """Raises Unavailable, LostTarget."""
    store = holdings.store(storage)

    def mend(row: Row) -> _Mended:
        return _mend(row, storage, store, target)

    for row, mended in in_threads(mend, originals.rows_of(storage)):
        progress.advance(1)
        result.files += 1
        result.derivatives += mended.derivatives
        if mended.finding in (None, Finding.SAME):
            continue
        if mended.is_right:
            result.back += 1
            continue
        result.still_bad += 1
        if len(result.bad) < LISTED:
            result.bad[row.key] = str(mended.finding)


def _stores() -> list[uuid.UUID]:
    """This host's folder first, then what every host can reach."""
    stores, own = RegisteredStore, holdings.own_id()
    found = db.session.scalars(
        sa.select(stores.id).where((stores.id == own) | (stores.kind != stores.Kind.FOLDER))
    ).all()
    db.session.commit()
    return sorted(found, key=lambda storage: storage != own)


def _mend(row: Row, storage: uuid.UUID, store: Store, target: Target) -> _Mended:
    finding = _compare(row, store)
    if finding is not Finding.SAME or row.is_damaged:
        media = _mark(row, storage, finding)
        if media is None:
            return _Mended(None, is_right=False, derivatives=0)
        failpoint("restore.found_missing")
        words = repair.repair(media, store, [(repair.FROM_BACKUP, _from(target))])
        # Without words it failed, or somebody else has repaired it meanwhile.
        if words is None and _compare(row, store) is not Finding.SAME:
            originals.must_be_there(target)
            return _Mended(finding, is_right=False, derivatives=0)
    return _Mended(finding, is_right=True, derivatives=_bring_derivatives(row, store, target))


def _compare(row: Row, store: Store) -> Finding:
    """Read all bytes, unless the store itself computed their checksum."""
    try:
        found = store.stat(row.key)
    except Missing:
        return Finding.MISSING
    if found.size != row.size:
        return Finding.DIFFERENT
    if found.sha256 is not None:
        return Finding.SAME if found.sha256 == row.sha256 else Finding.DIFFERENT
    return holdings.compare_bytes(store, row.key, row.sha256)


def _mark(row: Row, storage: uuid.UUID, finding: Finding) -> MediaAttachment | None:
    """The row, with its damage noted; None if it was purged, moved or replaced meanwhile."""
    begin_writing()
    media = db.session.get(MediaAttachment, row.id, populate_existing=True)
    if media and (media.storage, media.file_path, media.sha256, media.purged_at) != (
        storage, row.key, row.sha256, None,
    ):  # fmt: skip
        media = None
    if media and finding is not Finding.SAME:
        findings.note_damage(media, finding)
    db.session.commit()
    return media


def _from(target: Target) -> repair.Source:
    def fill(media: MediaAttachment, part: Part) -> bool:
        return source.fill_by_key(target, media.file_path, media.sha256 or "", part)

    return fill


def _bring_derivatives(row: Row, store: Store, target: Target) -> int:
    """How many came back; the others are made again."""
    missing = list(_missing(row, store))
    brought = [originals.bring_derivative(target, key, store) for key in missing]
    if not all(brought):
        begin_writing()
        derivatives.make_again(row.id)
        db.session.commit()
    return sum(brought)


def _missing(row: Row, store: Store) -> Iterator[str]:
    for key in row.derivatives:
        try:
            store.stat(key)
        except Missing:
            yield key
