"""The journey of a whole restore, onto an empty machine.

    check ▸ note ▸ marker ▸ database, out of sight ▸ originals ▸ rows ▸ publish the database

Killed anywhere, it goes on when it is started again. Nothing is ever overwritten.
"""

import dataclasses
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from viewer import holdings
from viewer.extensions import begin_writing, db
from viewer.failpoint import failpoint
from viewer.intake import derivatives
from viewer.models import MediaAttachment, RegisteredStore, UpkeepRun
from viewer.office import findings
from viewer.storage import StorageError, Unavailable, fsync_folder
from viewer.upkeep import runs
from viewer.upkeep.backup import forgotten
from viewer.upkeep.progress import Progress, Unwatched
from viewer.upkeep.restore import adjustments, originals
from viewer.upkeep.restore import database as databases
from viewer.upkeep.restore import journal as journals
from viewer.upkeep.restore.checks import CannotRestore, Plan, folder_of, media_root
from viewer.upkeep.restore.database import NewApp
from viewer.upkeep.restore.journal import Journal
from viewer.upkeep.restore.originals import Outcome, Row
from viewer.upkeep.restore.result import Result
from viewer.upkeep.threads import in_threads
from viewer.upkeep.verify.repair import FROM_BACKUP

Outcomes = UpkeepRun.Outcome


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted beyond the ordinary."""

    into_folder: bool = False  # also the originals that were in S3
    sample: frozenset[str] | None = None  # only these keys: a drill's
    is_drill: bool = False  # nobody goes on with it


def restore(
    plan: Plan, new_app: NewApp, progress: Progress | None = None, wish: Wish | None = None
) -> Result:
    """Restore what was planned; the caller holds `host_lock`. Raises CannotRestore, LostTarget."""
    root = media_root()
    try:
        journal = _begin(plan)
        if plan.begun:
            os.sync()  # a run that was killed may owe names to the disk
        _mark_folder(journal)
        if plan.begun and (ended := _find_result(journal)):  # it died in its last moment
            journals.remove(root)
            return ended
        if not journal.has_begun_database:
            # From here on, what is in the database is ours.
            journal = dataclasses.replace(journal, has_begun_database=True)
            journals.write(root, journal)
        with databases.staged(new_app, plan.target, plan.snapshot) as problems:
            work = _Work(plan, journal, progress or Unwatched(), wish or Wish())
            result = work.do(problems)
        databases.publish()
        failpoint("restore.published")
        journals.remove(root)
    except Unavailable as trouble:
        raise CannotRestore(f"MEDIA_ROOT: {trouble}") from trouble
    except OSError as trouble:
        raise CannotRestore(f"MEDIA_ROOT: {root}: {trouble.strerror}.") from trouble
    return result


# --- The place -----------------------------------------------------------------------------


def _begin(plan: Plan) -> Journal:
    """Note that this folder and this database are ours from now on. Raises OSError."""
    if plan.begun:
        return plan.begun
    journal = Journal(
        uuid.uuid4(), plan.target.id, plan.target.url, plan.snapshot.number,
        folder_of(plan.snapshot),
    )  # fmt: skip
    root = media_root()
    if not root.exists():
        root.mkdir(parents=True)
        fsync_folder(root.parent)
    journals.write(root, journal)
    failpoint("restore.noted")
    return journal


def _mark_folder(journal: Journal) -> None:
    """Raises Unavailable."""
    folder = holdings.unproven()
    if folder.identity() is None:
        folder.mark(str(journal.store))
    holdings.expect(journal.store)
    holdings.spool().tidy(older_than=0)  # of a run that was killed
    failpoint("restore.marked")


def _find_result(journal: Journal) -> Result | None:
    """How this restore ended, if its database is published already."""
    run = UpkeepRun
    if not sa.inspect(db.engine).has_table(run.__tablename__):
        return None
    counts = db.session.scalar(
        sa.select(run.counts).where(
            run.kind == run.Kind.RESTORE,
            run.ended_at.is_not(None),
            run.counts["restore"].as_string() == str(journal.id),
        )
    )
    db.session.commit()
    if counts is None:
        return None
    return Result(
        counts["files"], counts["right"], counts["bytes"], counts["restored"],
        counts["without_derivatives"], counts["seconds"], counts["bad"], counts["elsewhere"],
        counts["unreachable"], counts["problems"],
    )  # fmt: skip


# --- What is in it -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Work:
    """Bring the originals, and let the staged database say what is there."""

    plan: Plan
    journal: Journal
    progress: Progress
    wish: Wish

    def do(self, problems: list[str]) -> Result:
        begun, folder = time.monotonic(), self.journal.store
        holdings.expect(folder)  # in this application, too
        run = runs.begin(runs.Kind.RESTORE, self.plan.target.url)
        adjustments.take_over_stores(folder, with_s3=self.wish.into_folder)
        failpoint("restore.taken_over")
        if not self.wish.is_drill:
            forgotten.forget_again(self.plan.target)
            failpoint("restore.forgotten")
        result = Result(problems=problems)
        _look_elsewhere(folder, result)
        self._bring_originals(result)
        failpoint("restore.filled")
        adjustments.end_what_was_going_on()
        if self.wish.sample is None:
            adjustments.note_verified(folder)
        db.session.commit()
        failpoint("restore.adjusted")
        result.seconds = time.monotonic() - begun
        number = self.plan.snapshot.number
        runs.finish(
            run,
            Outcomes.GOOD if result.is_whole else Outcomes.BAD,
            f"Snapshot {number}: {result.words}",
            result.counts() | {"restore": str(self.journal.id)},
            number,
        )
        failpoint("restore.recorded")
        return result

    def _bring_originals(self, result: Result) -> None:
        def bring(row: Row) -> Outcome:
            return originals.bring(self.plan.target, row)

        self.progress.begin("restoring", self._count())
        for row, outcome in in_threads(bring, self._rows()):
            result.add(row, outcome)
            _note(row, outcome)
            self.progress.advance(1)

    def _count(self) -> int:
        sample = self.wish.sample
        return originals.count(self.journal.store) if sample is None else len(sample)

    def _rows(self) -> Iterator[Row]:
        sample = self.wish.sample
        for row in originals.rows_of(self.journal.store):
            if sample is None or row.key in sample:
                yield row


def _note(row: Row, outcome: Outcome) -> None:
    """Write on the row what is news: that the file is damaged, is right again, needs copies."""
    is_right = outcome.step.is_right
    if is_right is not row.is_damaged and not outcome.lacks_derivatives:
        return
    begin_writing()
    if is_right is row.is_damaged:
        media = db.session.get_one(MediaAttachment, row.id, populate_existing=True)
        if is_right:
            findings.note_repair(media, FROM_BACKUP)
        else:
            findings.note_damage(media, outcome.step.finding)
    if outcome.lacks_derivatives:
        derivatives.make_again(row.id)  # in this order, the newest first
    db.session.commit()
    db.session.expunge_all()


def _look_elsewhere(folder: uuid.UUID, result: Result) -> None:
    """Count what is in other stores, and read their markers: there it stays."""
    stores = db.session.scalars(
        sa.select(RegisteredStore).where(RegisteredStore.id != folder)
    ).all()
    db.session.commit()
    for store in stores:
        address = store.address or str(store.id)
        result.elsewhere[address] = originals.count(store.id)
        try:
            why = holdings.store(store.id).why_away()
        except StorageError as trouble:
            why = str(trouble)
        if why:
            result.unreachable[address] = why
