"""The journey of one drill, and its record.

scratch place ▸ sample ▸ `viewer restore` ▸ every row's file in the pool ▸ `viewer web`, a login
▸ fetch and hash the sample ▸ nothing is left
"""

import contextlib
import hashlib
import shutil
import time
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from viewer.config import settings
from viewer.extensions import db
from viewer.failpoint import failpoint
from viewer.models import MediaAttachment, UpkeepRun
from viewer.plurals import counted
from viewer.storage import Missing, StorageError
from viewer.upkeep import runs
from viewer.upkeep.backup import retention, snapshots
from viewer.upkeep.backup.listing import Listing
from viewer.upkeep.backup.snapshots import POOL, DamagedSnapshot, Snapshot
from viewer.upkeep.backup.targets import target as targets
from viewer.upkeep.backup.targets.target import Target, TargetError
from viewer.upkeep.drill import fetched, litestream, visit
from viewer.upkeep.drill import scratch as scratches
from viewer.upkeep.drill.sample import Sample
from viewer.upkeep.drill.scratch import DrillFailed, Scratch
from viewer.upkeep.drill.visit import Visitor
from viewer.upkeep.progress import Progress, Unwatched, size_in_words

Outcome = UpkeepRun.Outcome
State = MediaAttachment.State

NAMED = 10  # bad files that the words name


@dataclass(slots=True)
class Result:
    """How a drill ended."""

    outcome: Outcome
    words: str
    snapshot: int | None = None
    counts: dict[str, Any] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return self.outcome is Outcome.GOOD


def drill(url: str, *, full: bool = False, progress: Progress | None = None) -> Result:
    """Prove the newest verified snapshot of this target. Records the run; commits.

    Raises UnknownStore, and Busy where another drill runs: that is no drill of its own.
    """
    url = targets.normalise(url)
    begun = time.monotonic()
    work: _Drill | None = None
    try:
        with scratches.made(url) as scratch:
            run = runs.begin(runs.Kind.DRILL, url)
            failpoint("drill.begun")
            work = _Drill(scratch, url, progress or Unwatched())
            result = _in_words(work, full=full)
    except DrillFailed as trouble:
        result = Result(Outcome.BAD, str(trouble))
        if work is None:
            run = runs.begin(runs.Kind.DRILL, url)
    except Exception:
        db.session.rollback()
        if work is not None:
            runs.finish(run, Outcome.BAD, "It ended unexpectedly: the log says how.")
        raise
    result.counts["seconds"] = round(time.monotonic() - begun, 1)
    runs.finish(run, result.outcome, result.words, result.counts, result.snapshot)
    return result


def _in_words(work: "_Drill", *, full: bool) -> Result:
    try:
        with contextlib.closing(Sample()) as sample:
            return work.do(sample, full=full)
    except StorageError as trouble:
        words = work.target.describe(trouble) if work.target else str(trouble)
    except OSError as trouble:
        words = f"The scratch folder or the target failed ({trouble.strerror})."
    except (DrillFailed, TargetError, DamagedSnapshot) as trouble:
        words = str(trouble)
    db.session.rollback()
    return Result(Outcome.BAD, words, work.number, work.counts)


class _Drill:
    """The steps, and what they have in common."""

    def __init__(self, scratch: Scratch, url: str, progress: Progress) -> None:
        self.scratch = scratch
        self.url = url
        self.source = url  # what is restored from
        self.progress = progress
        self.target: Target | None = None
        self.number: int | None = None
        self.counts: dict[str, Any] = {}

    def do(self, sample: Sample, *, full: bool) -> Result:
        """Raises DrillFailed, TargetError, DamagedSnapshot, StorageError, OSError."""
        self.source, number = fetched.readable(self.scratch, self.url)
        target = self.target = targets.open_target(self.source)
        if target.viewer != targets.viewer_identity():
            raise DrillFailed(f"{self.url} holds the backups of another viewer.")
        snapshot, proven = _choose(target, number)
        self.number = snapshot.number
        sample.choose(target, snapshot, proven, None if full else settings().DRILL_SAMPLE)
        count = sample.count()
        self.counts |= {"target": str(target.id), "sampled": count}
        self._must_have_room(target, snapshot, sample, full=full)
        self._restore(snapshot, sample, full=full)
        failpoint("drill.restored")
        self._compare_with_pool(target)
        with visit.visited(self.scratch) as visitor:
            failpoint("drill.served")
            self._fetch(visitor, sample)
        failpoint("drill.fetched")
        beside = litestream.prove(self.scratch)
        size = size_in_words(self.counts["bytes"])
        words = (
            f"Snapshot {snapshot.number} restored: {counted(self.counts['files'], 'original')} in"
            f" the backup, {count:,} of them opened and right ({size})."
        )
        words = " ".join(filter(None, (words, beside)))
        return Result(Outcome.GOOD, words, snapshot.number, self.counts)

    def _must_have_room(
        self, target: Target, snapshot: Snapshot, sample: Sample, *, full: bool
    ) -> None:
        needed = int(snapshot.facts["database"]["size"])
        if full:
            needed += int(snapshot.facts["bytes"])
        else:
            for key in sample.keys():  # noqa: SIM118 - it is no dictionary
                with contextlib.suppress(Missing):  # the restore says so
                    needed += target.store.stat(POOL + key).size
        free = shutil.disk_usage(self.scratch.folder).free
        if free < needed:
            has, needs = size_in_words(free), size_in_words(needed)
            raise DrillFailed(f"DATA_DIR has room for {has}, and a drill needs {needs}.")

    def _restore(self, snapshot: Snapshot, sample: Sample, *, full: bool) -> None:
        words = ["restore", "--from", self.source, "--snapshot", str(snapshot.number), "--drill"]
        if not full:
            chosen = self.scratch.folder / "sample"
            with chosen.open("w") as file:
                file.writelines(f"{key}\n" for key in sample.keys())  # noqa: SIM118
            words += ["--sample", str(chosen)]
        self.progress.begin("restoring", 1)
        self.scratch.run(*words, deadline=scratches.DEADLINE)
        self.progress.advance(1)

    def _compare_with_pool(self, target: Target) -> None:
        """Every row has its file in the pool, with its size."""
        with contextlib.closing(Listing()) as listing, self.scratch.connected() as connection:
            listing.read_rows(connection)
            listing.read_pool(target.store, POOL)
            missing = [file.key for file in listing.not_covered() if not file.is_damaged]
            self.counts["files"], _ = listing.count()
        if missing:
            names = ", ".join(missing[:NAMED])
            raise DrillFailed(f"{counted(len(missing), 'original')} not in the backup: {names}.")

    def _fetch(self, visitor: Visitor, sample: Sample) -> None:
        """Open every original of the sample, and compare it with the list."""
        media, bad = MediaAttachment, []
        self.progress.begin("opening", sample.count())
        query = sa.select(media.id, media.file_path, media.state, media.file_size).where(
            media.is_in("kept"), media.sha256.is_not(None)
        )
        found = fetched = size = 0
        with self.scratch.connected() as connection:
            streamed = connection.execution_options(stream_results=True, yield_per=1000)
            for row in streamed.execute(query):
                sha256 = sample.hash_of(row.file_path)
                if sha256 is None:
                    continue
                found += 1
                fetched += row.state is State.STORED
                size += row.file_size or 0
                if self._read(visitor, row) != sha256:
                    bad.append(row.file_path)
                self.progress.advance(1)
        self.counts |= {"fetched": fetched, "bytes": size}
        if found < sample.count():
            lost = sample.count() - found
            raise DrillFailed(f"The restored database has no row for {counted(lost, 'original')}.")
        if bad:
            names = ", ".join(bad[:NAMED])
            raise DrillFailed(f"{counted(len(bad), 'original')} opened and not right: {names}.")

    def _read(self, visitor: Visitor, row: Any) -> str:
        """As it is served; what nobody is served, because it is in the trash, from the folder."""
        if row.state is State.STORED:
            return visitor.hash_of(row.id)
        path = self.scratch.media_root / row.file_path
        if not path.is_file():
            return "no file"
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _choose(target: Target, number: int | None) -> tuple[Snapshot, Snapshot | None]:
    """This snapshot or the newest verified one, and the one that was proven last.

    Raises DrillFailed.
    """
    found = snapshots.find_all(target)
    chosen = found.newest_verified
    if number is not None:
        chosen = next((one for one in found.complete if one.number == number), None)
    if chosen is None:
        raise DrillFailed(f"{target.url} has no verified snapshot.")
    numbers = retention.proven(target)
    proven = next((one for one in found.complete if one.number in numbers), None)
    return chosen, proven
