"""Compare the pool with the snapshot's list, and write again what is wrong in it.

A run counts because of this, not because copying raised nothing: the target is asked again what it
has, and this run's files are read back, with a slice of all others.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date

from viewer.failpoint import failpoint
from viewer.upkeep.backup import pool
from viewer.upkeep.backup.listing import SLICES, File, Listing
from viewer.upkeep.backup.pool import Step
from viewer.upkeep.backup.snapshots import POOL
from viewer.upkeep.backup.targets.target import Target
from viewer.upkeep.threads import in_threads

NAMED = 10  # bad files that the words name


@dataclass(slots=True)
class Comparison:
    """What is in the pool, beside what should be."""

    read: int = 0  # files
    read_bytes: int = 0
    healed: int = 0  # written again
    bad: int = 0
    bad_keys: list[str] = field(default_factory=list)  # the first ones

    def add_bad(self, key: str) -> None:
        self.bad += 1
        if len(self.bad_keys) < NAMED:
            self.bad_keys.append(key)


def compare(
    target: Target,
    number: int,
    listing: Listing,
    slices: frozenset[int],
    advance: Callable[[int], None],
) -> Comparison:
    """Raises SourceAway, Unavailable."""
    found = Comparison()
    listing.read_pool(target.store, POOL)
    for file in listing.not_covered():
        _heal(target, number, file, found)
    failpoint("backup.listed_again")

    def read(file: File) -> bool:
        return pool.hash_in_pool(target, file) == file.sha256

    for file, is_right in in_threads(read, listing.to_read_back(slices)):
        found.read += 1
        found.read_bytes += file.size or 0
        if not is_right and file.is_in_pool:  # else it is counted above
            _heal(target, number, file, found)
        advance(1)
    return found


def due_slices(last: date | None, today: date) -> frozenset[int]:
    """What is to be read today, also for the days on which no run took place.

    `last` is the day of the last comparison; it is in the future if the clock went back.
    """
    if last is None or last > today:
        return frozenset({today.toordinal() % SLICES})
    missed = min((today - last).days, SLICES)
    return frozenset((today.toordinal() - ago) % SLICES for ago in range(missed))


def _heal(target: Target, number: int, file: File, found: Comparison) -> None:
    outcome = pool.bring(target, number, file)
    if outcome.step in (Step.COPIED, Step.TRUSTED):
        is_right = pool.hash_in_pool(target, file) == file.sha256
        found.healed += is_right
        if not is_right:
            found.add_bad(file.key)
    else:
        if file.is_in_pool:  # twice read, and twice wrong
            pool.set_wrong_aside(target, number, file)
        found.add_bad(file.key)
