"""The journey of one backup, from the copy of the database to the pruning.

    copy the database ▸ list its files ▸ fill the pool ▸ SHA256SUMS ▸ snapshot.json ▸ compare
    ▸ verified.json ▸ prune

The database comes first: what is collected meanwhile is in the next snapshot, and no snapshot names
a file that was not there yet. A run that dies leaves files that the next one uses.
"""

from datetime import date
from typing import Any

from viewer import holdings
from viewer.extensions import now
from viewer.failpoint import failpoint
from viewer.plurals import counted
from viewer.storage import Unavailable
from viewer.upkeep.backup import (
    audit_heads,
    changes,
    comparison,
    database,
    filling,
    forgotten,
    older,
    result,
    retention,
    snapshots,
    writing,
)
from viewer.upkeep.backup.listing import Listing
from viewer.upkeep.backup.pool import SourceAway
from viewer.upkeep.backup.result import Outcome, Result
from viewer.upkeep.backup.snapshots import POOL, DamagedSnapshot, Found, Snapshot
from viewer.upkeep.backup.targets.target import Target, TargetError
from viewer.upkeep.lease import Lease
from viewer.upkeep.progress import Progress, size_in_words


class NoRoom(TargetError):
    """The target has no room for what is new."""


class Run:
    """The steps, and what they have in common."""

    def __init__(
        self, target: Target, mine: Lease, progress: Progress, *, accept_changes: bool = False
    ) -> None:
        self.target = target
        self.lease = mine
        self.progress = progress
        self.accept_changes = accept_changes
        self.listing = Listing()
        self.number: int | None = None
        self.counts: dict[str, Any] = {}
        self.notes: list[str] = []  # what else to say of a good run

    def close(self) -> None:
        self.listing.close()

    def do(self) -> Result:
        database.check_tools()
        self.target.tidy()  # the lease is ours: whoever wrote them is dead
        found = snapshots.find_all(self.target)
        damaged = older.set_aside(self.target, found.damaged)
        self.number, taken_at = found.highest + 1, now()
        name = snapshots.name_of(self.number, taken_at)

        copied, facts = self._copy_database(name)
        damaged += self._compare_audit_log(found, facts)
        forgotten.write(self.target)
        damaged += self._list_files(found)
        problems = self._fill_pool()
        self.lease.check()
        files, size = self.listing.count_promised()
        self.counts |= {"files": files, "bytes": size}
        written = writing.write_list(self.target, name, self.listing, copied)
        self.lease.check()
        snapshot = writing.complete(
            self.target, self.number, taken_at, self.listing, copied, written, facts
        )

        damaged += self._compare(found, snapshot, problems)
        if problems:
            return result.unverified(self.number, self.counts, problems)
        self._mark_verified(snapshot)
        if damaged:
            return result.verified(Outcome.BAD, self.number, self.counts, damaged + self.notes)
        notes = self._prune() + self.notes
        return result.verified(Outcome.GOOD, self.number, self.counts, notes)

    # --- Database and list ---

    def _copy_database(self, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Copy the database and read its list. What the snapshot says of them."""
        size = database.size()
        self.target.check_spool(size)
        self._must_have_room(size)
        return writing.copy_database(self.target, name, self.listing)

    def _compare_audit_log(self, found: Found, facts: dict[str, Any]) -> list[str]:
        """What to say if it does not go on from the snapshots; a person may accept that."""
        problems = audit_heads.disagreeing(found.complete, self.target.url)
        self.counts["is_audit_log_altered"] = bool(problems) and not self.accept_changes
        if problems and self.accept_changes:
            facts["audit"][audit_heads.ACCEPTED] = True
            self.notes.append("The audit log does not go on from earlier ones, which was accepted.")
            return []
        return problems

    def _list_files(self, found: Found) -> list[str]:
        """Read what the last verified snapshot, the pool and the stores have.

        Returns what to say of older snapshots whose list is damaged.
        """
        words: list[str] = []
        while last := found.newest_verified:
            try:
                self.listing.read_known(snapshots.read_list(self.target, last))
                changes.read_accepted(self.target, last, self.listing)
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
        files, size = self.listing.count_to_copy()
        self._must_have_room(size)
        self.progress.begin("copying", files)
        tally, wrong = filling.fill(
            self.target, self.number or 0, self.listing, self.progress.advance,
            accept_changes=self.accept_changes,
        )  # fmt: skip
        self.counts |= tally.counts()
        failpoint("backup.filled")
        if not tally.wrong:
            return []
        names = ", ".join(wrong)
        return [
            f"{counted(tally.wrong, 'original')} not as they came, and not in the backup: {names}."
        ]

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
        compared = comparison.compare(
            self.target, snapshot.number, self.listing, slices, self.progress.advance
        )
        failpoint("backup.compared")
        self.counts |= {"read": compared.read, "read_bytes": compared.read_bytes}
        self.counts["healed"] += compared.healed
        if compared.bad:
            names = ", ".join(compared.bad_keys)
            problems.append(f"{counted(compared.bad, 'file')} not right in the target: {names}.")
        problems += self._changes()
        try:
            snapshots.check_files(self.target, snapshot)
        except DamagedSnapshot as damage:
            problems.append(str(damage))
        return older.check(self.target, found, slices)

    def _changes(self) -> list[str]:
        """Why the run cannot be good, if too much changed that nobody accepts."""
        altered = changes.count_altered(self.listing)
        self.counts["altered"] = altered
        if altered and self.accept_changes:
            self.notes.append(f"{changes.in_words(altered)}, which was accepted.")
        elif changes.is_mass_change(altered, self.listing.count_known()):
            self.counts["is_mass_change"] = True
            return [
                f"{changes.in_words(altered)}: is it a broken disk, or an attack? Earlier backups"
                " stay. If you know of it: viewer backup --accept-changes."
            ]
        return []

    def _due_slices(self, last: Snapshot | None) -> frozenset[int]:
        said = (last.verified or {}).get("read_on") if last else None
        return comparison.due_slices(date.fromisoformat(said) if said else None, now().date())

    # --- The end ---

    def _mark_verified(self, snapshot: Snapshot) -> None:
        accepted = changes.write_accepted(
            self.target, snapshot.name, self.listing, with_new=self.accept_changes
        )
        self.lease.check()
        snapshots.mark_verified(
            self.target,
            snapshot,
            {
                "verified_at": snapshots.stamp(now()),
                "read_on": f"{now():%Y-%m-%d}",
                "read": self.counts["read"],
                "accepted": accepted,
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
