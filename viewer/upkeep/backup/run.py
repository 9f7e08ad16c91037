"""The journey of one backup, from the copy of the database to the pruning.

    copy the database ▸ list its files ▸ fill the pool ▸ SHA256SUMS ▸ snapshot.json ▸ compare
    ▸ verified.json ▸ prune

The database comes first: what is collected meanwhile is in the next snapshot, and no snapshot names
a file that was not there yet. A run that dies leaves files that the next one uses.
"""

import hashlib
import shutil
from dataclasses import dataclass, field
from datetime import date
from importlib import metadata
from typing import Any

from viewer import holdings
from viewer.extensions import now
from viewer.failpoint import failpoint
from viewer.models import UpkeepRun
from viewer.plurals import counted
from viewer.storage import Unavailable
from viewer.upkeep.backup import changes, comparison, database, older, pool, retention, snapshots
from viewer.upkeep.backup.comparison import Comparison
from viewer.upkeep.backup.lease import Lease
from viewer.upkeep.backup.listing import File, Listing
from viewer.upkeep.backup.pool import SourceAway, Step
from viewer.upkeep.backup.progress import Progress, size_in_words
from viewer.upkeep.backup.snapshots import POOL, PREFIX, DamagedSnapshot, Found, Snapshot
from viewer.upkeep.backup.target import Target, TargetError
from viewer.upkeep.backup.threads import in_threads

Outcome = UpkeepRun.Outcome


class NoRoom(TargetError):
    """The target has no room for what is new."""


@dataclass(slots=True)
class Result:
    """How a run ended."""

    outcome: Outcome = Outcome.GOOD
    words: str = ""
    snapshot: int | None = None
    counts: dict[str, Any] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return self.outcome is Outcome.GOOD

    @property
    def has_failed(self) -> bool:
        """Whether it could not do its work: then nothing was compared."""
        return self.outcome is Outcome.FAILED


class Run:
    """The steps, and what they have in common."""

    def __init__(self, target: Target, mine: Lease, progress: Progress) -> None:
        self.target = target
        self.lease = mine
        self.progress = progress
        self.listing = Listing()
        self.number: int | None = None
        self.counts: dict[str, Any] = {}

    def close(self) -> None:
        self.listing.close()

    def do(self) -> Result:
        database.check_tools()
        self.target.spool.tidy(older_than=0)  # the lease is ours: whoever wrote them is dead
        found = snapshots.find_all(self.target)
        damaged = older.set_aside(self.target, found.damaged)
        self.number, taken_at = found.highest + 1, now()
        name = snapshots.name_of(self.number, taken_at)

        copied, facts = self._copy_database(name)
        damaged += self._list_files(found)
        problems = self._fill_pool()
        self.lease.check()
        files, size = self.listing.count_promised()
        self.counts |= {"files": files, "bytes": size}
        written = snapshots.write_list(
            self.target, name, self.listing.promised(), (copied["name"], copied["sha256"])
        )
        failpoint("backup.listed")
        self.lease.check()
        snapshot = snapshots.complete(
            self.target,
            name,
            {
                "number": self.number,
                "taken_at": snapshots.stamp(taken_at),
                "target": str(self.target.id),
                "viewer": str(self.target.viewer),
                "version": metadata.version("conversation-viewer"),
                "database": copied,
                "list": written,
                "files": files,
                "bytes": size,
                **facts,
            },
        )

        damaged += self._compare(found, snapshot, problems)
        if problems:
            return self._result(Outcome.BAD, problems, is_verified=False)
        self._mark_verified(snapshot)
        if damaged:
            return self._result(Outcome.BAD, damaged)
        return self._result(Outcome.GOOD, self._prune())

    # --- Database and list ---

    def _copy_database(self, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Copy the database and read its list. What the snapshot says of them."""
        self._must_have_room(database.size())
        folder = self.target.spool.decoder_folder()
        folder.chmod(0o700)
        try:
            with database.copied(folder) as copy:
                self.listing.read_rows(copy.connection)
                facts = copy.facts()
            with copy.path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = copy.path.stat().st_size
            self.target.store.place(f"{PREFIX}{name}/{copy.name}", copy.path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        failpoint("backup.database")
        return {"name": copy.name, "size": size, "sha256": sha256}, facts

    def _list_files(self, found: Found) -> list[str]:
        """Read what the last verified snapshot, the pool and the stores have.

        Returns what to say of older snapshots whose list is damaged.
        """
        words: list[str] = []
        while last := found.newest_verified:
            try:
                self.listing.read_known(snapshots.read_list(self.target, last))
                break
            except DamagedSnapshot as damage:
                self.listing.forget_known()
                found.complete.remove(last)
                words += older.set_aside(self.target, {last.name: str(damage)})
        self.listing.read_pool(self.target.store, POOL)
        try:
            self.listing.read_sources(holdings.store)
        except Unavailable as trouble:
            raise SourceAway(str(trouble)) from trouble
        return words

    # --- Files ---

    def _fill_pool(self) -> list[str]:
        """Copy what is missing. Why the run cannot be good."""
        number = self.number or 0
        files, size = self.listing.count_to_copy()
        self._must_have_room(size)
        self.progress.begin("copying", files)

        def bring(file: File) -> pool.Outcome:
            return pool.bring(self.target, number, file)

        tally = dict.fromkeys(("copied", "copied_bytes", "derivatives", "healed", "lost"), 0)
        wrong: list[str] = []
        bad = 0
        for file, outcome in in_threads(bring, self.listing.to_copy()):
            self.progress.advance(1)
            if outcome.step is Step.COPIED:
                tally["derivatives" if file.sha256 is None else "copied"] += 1
                tally["copied_bytes"] += outcome.size
                tally["healed"] += outcome.has_replaced or file.is_known
            if file.sha256 is None:
                continue  # a derivative is made again at a restore
            if outcome.step in (Step.COPIED, Step.TRUSTED):
                self.listing.note_done(file, outcome.sha256)
                continue
            self.listing.leave_out(file)
            if outcome.step is Step.PURGED:
                continue
            if file.is_damaged:
                tally["lost"] += 1  # its row says so: no news, and the others are covered
                continue
            self.listing.note_altered(file)
            bad += 1
            wrong += [file.key] if bad <= comparison.NAMED else []
        self.counts |= tally | {"wrong": bad}
        failpoint("backup.filled")
        if not bad:
            return []
        names = ", ".join(wrong)
        return [f"{counted(bad, 'original')} not as they came, and not in the backup: {names}."]

    def _must_have_room(self, size: int) -> None:
        free = self.target.free()
        if free is not None and free < size:
            has, needs = size_in_words(free), size_in_words(size)
            raise NoRoom(f"The target has room for {has}, and {needs} are needed.")

    # --- Comparing ---

    def _compare(self, found: Found, snapshot: Snapshot, problems: list[str]) -> list[str]:
        """Add to `problems` what is wrong with this snapshot; return what is with older ones."""
        slices = self._due_slices(found.newest_verified)
        self.progress.begin("comparing", self.listing.count_to_read_back(slices))
        result = comparison.compare(
            self.target, snapshot.number, self.listing, slices, self.progress.advance
        )
        failpoint("backup.compared")
        self._count(result)
        if result.bad:
            names = ", ".join(result.bad_keys)
            problems.append(f"{counted(result.bad, 'file')} not right in the target: {names}.")
        altered = changes.count_altered(self.listing)
        self.counts["altered"] = altered
        if changes.is_mass_change(altered, self.listing.count_known()):
            self.counts["is_mass_change"] = True
            problems.append(
                f"{counted(altered, 'original')} gone or altered since the last verified backup:"
                " is it a broken disk, or an attack? Earlier backups stay."
            )
        try:
            snapshots.check_files(self.target, snapshot)
        except DamagedSnapshot as damage:
            problems.append(str(damage))
        return older.check(self.target, found, slices)

    def _count(self, result: Comparison) -> None:
        self.counts["read"], self.counts["read_bytes"] = result.read, result.read_bytes
        self.counts["healed"] += result.healed

    def _due_slices(self, last: Snapshot | None) -> frozenset[int]:
        said = (last.verified or {}).get("read_on") if last else None
        return comparison.due_slices(date.fromisoformat(said) if said else None, now().date())

    # --- The end ---

    def _mark_verified(self, snapshot: Snapshot) -> None:
        self.lease.check()
        snapshots.mark_verified(
            self.target,
            snapshot,
            {
                "verified_at": snapshots.stamp(now()),
                "read_on": f"{now():%Y-%m-%d}",
                "read": self.counts["read"],
            },
        )

    def _prune(self) -> list[str]:
        self.lease.check()
        found = snapshots.find_all(self.target)
        proven = retention.proven(self.target)
        pruned = retention.prune(self.target, self.listing, found, proven)
        kept = len(found.complete) - pruned.snapshots
        self.counts |= {"snapshots": max(kept, 1), "pruned": pruned.snapshots}
        failpoint("backup.pruned")
        return [pruned.problem] if pruned.problem else []

    def _result(self, outcome: Outcome, notes: list[str], *, is_verified: bool = True) -> Result:
        told = self.counts
        words = (
            f"Snapshot {self.number}: {counted(told['files'], 'original')}"
            f" ({size_in_words(told['bytes'])}) covered, {told['copied']:,} new."
        )
        if not is_verified:
            words = f"Snapshot {self.number} is not verified."
        if told["healed"]:
            notes.append(f"{counted(told['healed'], 'file')} of the target written again.")
        if told["lost"]:
            notes.append(f"{counted(told['lost'], 'damaged file')} without a right copy anywhere.")
        return Result(outcome, " ".join([words, *notes]), self.number, told)
