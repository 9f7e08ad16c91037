"""Back up to a target, under its lease, and record how it went as an `UpkeepRun`."""

import contextlib
import uuid
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa

from viewer.extensions import db, sqlite_driver
from viewer.models import UpkeepRun
from viewer.storage import StorageError, Unavailable
from viewer.upkeep import lease, runs
from viewer.upkeep.backup import retention, snapshots
from viewer.upkeep.backup.dump import DamagedDatabase, NoCopy
from viewer.upkeep.backup.listing import Listing
from viewer.upkeep.backup.pool import SourceAway
from viewer.upkeep.backup.restic import repository as restic
from viewer.upkeep.backup.restic.repository import Repository
from viewer.upkeep.backup.restic.run import ResticRun
from viewer.upkeep.backup.result import Result
from viewer.upkeep.backup.run import Run
from viewer.upkeep.backup.snapshots import POOL, DamagedSnapshot
from viewer.upkeep.backup.targets import target as targets
from viewer.upkeep.backup.targets.target import Refused, Target, TargetError
from viewer.upkeep.lease import Lease, LostLease
from viewer.upkeep.progress import Progress, Unwatched

Outcome = UpkeepRun.Outcome


def back_up(
    url: str,
    *,
    same_filesystem: bool = False,
    accept_changes: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Back up database and files to this target. Records the run; commits.

    `accept_changes`: a person knows of the originals that are gone or altered by now.
    Raises UnknownStore, and Busy where another run is at it: that is no run of its own.
    """
    url = targets.normalise(url)
    try:
        target = _open(url, same_filesystem=same_filesystem)
    except TargetError as trouble:
        result = Result(Outcome.FAILED, str(trouble))
        _finish(runs.begin(runs.Kind.BACKUP, url), result)
        return result
    with _alone(target) as mine:
        run = runs.begin(runs.Kind.BACKUP, url)
        counts = {"target": str(target.id)}
        _note(run, counts)
        try:
            words = mine, progress or Unwatched()
            begun = (
                ResticRun(target, *words, accept_changes=accept_changes)
                if isinstance(target, Repository)
                else Run(target, *words, accept_changes=accept_changes)
            )
            with contextlib.closing(begun) as work:
                result = _in_words(work, target)
        except Exception:
            db.session.rollback()
            told = "It ended unexpectedly: the log says how."
            _finish(run, Result(Outcome.FAILED, told, counts=counts))
            raise
        result.counts |= counts
        _finish(run, result)
    return result


def prune_only(url: str, *, same_filesystem: bool = False) -> retention.Pruned:
    """Remove what is due, where the machine that backs up must not. Raises TargetError, Busy.

    Nothing goes unless the newest snapshot was compared and found right.
    """
    target = targets.open_own(url, same_filesystem=same_filesystem)
    if target is None:
        raise Refused(f"{url} is empty.")
    with _alone(target), contextlib.closing(Listing()) as listing:
        try:
            found = snapshots.find_all(target)
            if found.damaged or not found.complete or not found.complete[-1].is_verified:
                raise Refused(f"{url}: the newest snapshot is not verified, so nothing is pruned.")
            listing.read_pool(target.store, POOL)
            return retention.prune(target, listing, found, retention.proven(target))
        except Unavailable as trouble:
            raise targets.LostTarget(target.describe(trouble)) from trouble


def _alone(target: Target | Repository) -> AbstractContextManager[Lease]:
    # By the target's own id: two hosts may have mounted it in different places.
    return lease.held(f"backup:{target.id.hex}", f"Another backup to {target.url}")


def _open(url: str, *, same_filesystem: bool) -> Target | Repository:
    """Raises TargetError."""
    if restic.is_repository(url):
        return restic.open_repository(url, same_filesystem=same_filesystem)
    return targets.open_own(url, same_filesystem=same_filesystem) or targets.mark(url)


def _in_words(work: Run | ResticRun, target: Target | Repository) -> Result:
    """Do the work; why it could not, in a sentence."""
    outcome = Outcome.FAILED
    try:
        return work.do()
    except (DamagedDatabase, DamagedSnapshot) as damage:
        outcome, words = Outcome.BAD, str(damage)
    except SourceAway as trouble:
        words = f"The store of the originals does not answer: {trouble}"
    except StorageError as trouble:
        words = target.describe(trouble)
    except sqlite_driver.Error as trouble:
        words = f"The lists of files in DATA_DIR failed: {trouble}."
    except OSError as trouble:
        words = f"The target failed ({trouble.strerror})."
    except (NoCopy, TargetError, LostLease) as trouble:
        words = str(trouble)
    db.session.rollback()
    return Result(outcome, words, work.number, work.counts)


def _note(run: uuid.UUID, counts: dict[str, Any]) -> None:
    """Note the target at once: a place that was one is never taken for an unused one again."""
    db.session.execute(sa.update(UpkeepRun).where(UpkeepRun.id == run).values(counts=counts))
    db.session.commit()


def _finish(run: uuid.UUID, result: Result) -> None:
    runs.finish(run, result.outcome, result.words, result.counts, result.snapshot)
