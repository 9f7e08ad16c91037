"""One run of verify over one store, and its record.

Findings are collected before any row is marked. Where more than one file in a hundred is bad, and
more than twenty, nothing is marked or repaired: that is a disk, a mount or an attacker, and a
person must look.
"""

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from viewer import holdings
from viewer.config import settings
from viewer.extensions import begin_writing, db, now
from viewer.failpoint import failpoint
from viewer.holdings import Finding
from viewer.intake import derivatives
from viewer.models import MediaAttachment, RegisteredStore, UpkeepRun
from viewer.office import findings
from viewer.plurals import counted
from viewer.storage import StorageError, Store, Unavailable
from viewer.upkeep import runs
from viewer.upkeep.verify import presence, reading, repair

log = logging.getLogger(__name__)

EVERY = 900.0  # seconds between two looks at whether the night has come
LEAST_MASS = 20  # bad files at least, for a mass change
MASS = 100  # one bad file in so many

# In the display zone. Where the machine sleeps at night, it is done once it is overdue.
AT_NIGHT = range(1, 5)
APART = timedelta(hours=20)
OVERDUE = timedelta(hours=26)

Outcome = UpkeepRun.Outcome
Bad = tuple[presence.Row, Finding]


@dataclass(frozen=True, slots=True)
class Looks:
    """Whom to tell of the progress: of so many files looked at, of so many bytes read."""

    files: Callable[[int], None] = lambda _: None
    size: Callable[[int], None] = lambda _: None


@dataclass(slots=True)
class Result:
    """How a run ended."""

    there: presence.Presence = field(default_factory=presence.Presence)
    read: reading.Slice = field(default_factory=reading.Slice)
    problem: str | None = None  # why it could not look, or would not go on
    is_mass_change: bool = False
    repaired: int = 0
    damaged: int = 0  # still, after the repairs

    @property
    def bad(self) -> list[Bad]:
        """What this run found, each file once."""
        return list(
            {row.id: (row, finding) for row, finding in self.there.bad + self.read.bad}.values()
        )

    @property
    def outcome(self) -> Outcome:
        if self.problem and not self.is_mass_change:
            return Outcome.FAILED
        return Outcome.BAD if self.problem or self.damaged else Outcome.GOOD

    def __str__(self) -> str:
        if self.problem:
            return self.problem
        parts = [
            f"{counted(self.there.rows, 'original')} looked at",
            f"{self.read.files:,} of them read",
        ]
        if self.bad:
            parts.append(f"{len(self.bad):,} found damaged")
        if self.repaired:
            parts.append(f"{self.repaired:,} repaired")
        if self.damaged:
            parts.append(f"{self.damaged:,} still damaged")
        if self.there.orphans.count:
            parts.append(f"{counted(self.there.orphans.count, 'file')} without a row")
        return ", ".join(parts) + "."

    def counts(self) -> dict[str, Any]:
        """The figures for the record."""
        orphans = self.there.orphans
        return {
            "files": self.there.rows,
            "read": self.read.files,
            "read_bytes": self.read.size,
            "bad": len(self.bad),
            "repaired": self.repaired,
            "damaged": self.damaged,
            "is_mass_change": self.is_mass_change,
            "orphans": orphans.count,
            "orphan_bytes": orphans.size,
            "orphan_keys": orphans.keys,
            "original_bytes": self.there.original_size,
            "copy_bytes": self.there.copy_size,
        }


def stores() -> dict[uuid.UUID, str]:
    """The stores that this host can check, with their addresses: its own folder, and any S3."""
    own, kind = holdings.own_id(), RegisteredStore.Kind
    found = db.session.scalars(
        sa.select(RegisteredStore)
        .where((RegisteredStore.id == own) | (RegisteredStore.kind != kind.FOLDER))
        .where(RegisteredStore.retired_at.is_(None))
        .order_by(RegisteredStore.created_at)
    ).all()
    addresses = {store.id: store.address or str(store.id) for store in found}
    db.session.commit()
    return addresses


def own_store() -> list[uuid.UUID]:
    """What only this host can check."""
    return [holdings.own_id()]


def shared_stores() -> list[uuid.UUID]:
    """What every host reaches."""
    return [one for one in stores() if one != holdings.own_id()]


def is_due(storage: uuid.UUID) -> bool:
    """Whether it is time for this store's nightly run. The first one follows within a day."""
    created = sa.select(RegisteredStore.created_at).filter_by(id=storage)
    last = _last_run_at(stores()[storage]) or db.session.scalar(created)
    db.session.commit()
    if last is None:
        return False
    apart = now() - last
    is_night = now().astimezone(settings().zone).hour in AT_NIGHT
    return apart > OVERDUE or (is_night and apart > APART)


def _last_run_at(address: str) -> datetime | None:
    """When the last run began that could look; one that could not is done again soon."""
    run = UpkeepRun
    return db.session.scalar(
        sa.select(sa.func.max(run.started_at)).where(
            run.kind == run.Kind.VERIFY, run.subject == address, run.has_result()
        )
    )


def nightly() -> list[Result]:
    """Check all stores of this host: every file's presence, and the bytes of a slice."""
    return [verify(storage, gently=True) for storage in stores()]


def verify(
    storage: uuid.UUID,
    *,
    everything: bool = False,
    gently: bool = False,
    looks: Looks | None = None,
) -> Result:
    """Check one store, and repair what is damaged. `everything`: read all bytes, not a slice.

    Recorded as a run. Commits.
    """
    result, looks = Result(), looks or Looks()
    run = runs.begin(UpkeepRun.Kind.VERIFY, stores()[storage])
    try:
        store = holdings.store(storage)
        begun, (files, size) = now(), presence.totals(storage)
        result.there = presence.compare(store, storage, begun, _most_bad(files), looks.files)
        _stop_at_mass_change(result, result.there.bad, result.there.rows)
        if not result.is_mass_change:
            quota = None if everything else _quota(size, stores()[storage])
            result.read = reading.read(
                store, storage, begun, quota, _most_bad, looks.size, gently=gently
            )
            _stop_at_mass_change(result, result.read.bad, result.read.files)
        if not result.is_mass_change:
            _mark(result.bad, storage)
            _make_copies_due(result.there.without_copies)
            _repair(store, storage, result)
    except Unavailable as trouble:
        result.problem = f"The originals could not be checked. {trouble}"
    runs.finish(run, result.outcome, str(result), result.counts())
    return result


def _most_bad(files: int) -> int:
    """How many of so many files may be bad before it is a mass change."""
    return max(LEAST_MASS, files // MASS)


def _stop_at_mass_change(result: Result, bad: list[Bad], files: int) -> None:
    if len(bad) > _most_bad(files):
        result.is_mass_change = True
        result.problem = (
            f"{len(bad):,} of {counted(files, 'original')} are missing or changed. That is no "
            "single damage but a disk, a mount or an attacker: nothing was marked or repaired."
        )


def _quota(size: int, address: str) -> int:
    """Bytes to read, so that a cycle reads all of them; more after nights that were missed.

    What a bucket gives costs money: of it no more than the setting allows, however many nights.
    """
    cycle = settings().VERIFY_CYCLE_DAYS
    last = _last_run_at(address)
    nights = 1 if last is None else max(1, round((now() - last) / timedelta(days=1)))
    quota = -(-size * min(nights, cycle) // cycle)
    if address.startswith("s3:"):
        quota = min(quota, int(settings().VERIFY_S3_GB_PER_NIGHT * 1_000_000_000))
    return quota


def _mark(bad: list[Bad], storage: uuid.UUID) -> None:
    """Mark the rows, if they still say what they said: one may have been purged meanwhile."""
    for row, finding in bad:
        begin_writing()
        media = db.session.get(MediaAttachment, row.id, populate_existing=True)
        if media and (media.storage, media.file_path, media.sha256) == (
            storage,
            row.key,
            row.sha256,
        ):
            findings.note_damage(media, finding)
        db.session.commit()
        failpoint("verify.marked")


def _make_copies_due(without: list[uuid.UUID]) -> None:
    for identity in without:
        begin_writing()
        derivatives.make_again(identity)  # the sweep takes it up
        db.session.commit()


def _repair(store: Store, storage: uuid.UUID, result: Result) -> None:
    for media in repair.damaged(storage):
        try:
            words = repair.repair(media, store)
        except StorageError as trouble:
            log.error("media=%s cannot be repaired: %s", media.id, trouble)
            words = None
        if words:
            result.repaired += 1
        else:
            result.damaged += 1
