"""Which snapshots stay, and which files of the pool no snapshot names any more.

The newest verified snapshot of each of the last 24 hours, 14 days, 8 weeks and 12 months *that have
one*, counted along the snapshots and never from the clock: a clock that runs years ahead for an
hour takes the place of one snapshot, not of all.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from viewer.extensions import db
from viewer.failpoint import failpoint
from viewer.models import MediaAttachment
from viewer.storage import StorageError, keys
from viewer.upkeep import runs
from viewer.upkeep.backup import snapshots
from viewer.upkeep.backup.listing import Listing
from viewer.upkeep.backup.snapshots import POOL, DamagedSnapshot, Found, Snapshot
from viewer.upkeep.backup.targets.target import Target

log = logging.getLogger(__name__)

ALWAYS = 3  # the last verified ones
RULES: tuple[tuple[int, Callable[[datetime], object]], ...] = (
    (24, lambda taken: (taken.date(), taken.hour)),
    (14, lambda taken: taken.date()),
    (8, lambda taken: taken.isocalendar()[:2]),
    (12, lambda taken: (taken.year, taken.month)),
)


@dataclass(slots=True)
class Pruned:
    """What went, and why the rest did not."""

    snapshots: int = 0
    files: int = 0
    problem: str | None = None


def prune(target: Target, listing: Listing, found: Found, kept: Collection[int]) -> Pruned:
    """Remove the snapshots whose time is over, and then what none of the others names.

    A target that refuses is fine, and said in `problem`: then another machine prunes.
    `kept` are numbers that stay in any case; `listing` has the pool's newest list.
    """
    pruned = Pruned()
    if has_clock_gone_back(found.verified):
        pruned.problem = "The clock went back since the last snapshot: nothing was pruned."
        return pruned
    try:
        for name in _expired(found, kept):
            snapshots.remove(target, name)
            pruned.snapshots += 1
            log.info("snapshot %s removed from %s", name, target.url)
        snapshots.remove_empty_folders(target)
        if _is_first_of_its_day(found):
            pruned.files = _forget_files(target, listing)
    except StorageError as trouble:
        log.warning("%s was not pruned: %s", target.url, target.describe(trouble))
        pruned.problem = "Not pruned here: the target does not let us remove anything."
    except DamagedSnapshot as damage:
        pruned.problem = f"No file of the pool was removed: {damage}"
    return pruned


def choose_kept(verified: Sequence[Snapshot], also: Collection[int] = ()) -> set[int]:
    """The numbers of those that stay, of verified snapshots in the order of their numbers."""
    newest_first = list(reversed(verified))
    kept = {one.number for one in newest_first[:ALWAYS]} | set(also)
    for count, period_of in RULES:
        periods: set[object] = set()
        for one in newest_first:
            period = period_of(one.taken_at)
            if period not in periods and len(periods) < count:
                periods.add(period)
                kept.add(one.number)
    return kept


def proven(target: Target) -> set[int]:
    """The number of the snapshot that a drill proved last, if one did."""
    found = runs.latest(runs.Kind.DRILL, target.url, runs.Outcome.GOOD)
    db.session.commit()
    return {found.snapshot} if found and found.snapshot is not None else set()


def has_clock_gone_back(verified: Sequence[Snapshot]) -> bool:
    """Whether the newest snapshot says that it is older than the one before it."""
    return len(verified) > 1 and verified[-1].taken_at < verified[-2].taken_at


def _expired(found: Found, also: Collection[int]) -> Iterator[str]:
    verified = found.verified
    kept = choose_kept(verified, also)
    yield from (one.name for one in verified if one.number not in kept)
    # One that was not right may still be all that there is, until better ones have been made.
    if len(verified) >= ALWAYS:
        settled = verified[-ALWAYS].number
        for one in found.complete:
            if not one.is_verified and one.number < settled and one.number not in kept:
                yield one.name
    if found.complete:
        newest = found.complete[-1].number
        yield from (name for name in found.incomplete if snapshots.number_of(name) < newest)


def _is_first_of_its_day(found: Found) -> bool:
    """Reading all lists takes minutes where there are a million files: once a day is enough."""
    verified = found.verified
    return len(verified) < 2 or verified[-1].taken_at.date() != verified[-2].taken_at.date()


def _forget_files(target: Target, listing: Listing) -> int:
    """Remove from the pool what no snapshot names. Raises DamagedSnapshot, StorageError."""
    found = snapshots.find_all(target)  # as it is now, also with what another host wrote
    if found.damaged:
        raise DamagedSnapshot(f"snapshot {next(iter(found.damaged))} is damaged.")
    for one in found.complete:
        listing.note_named(keys.family(key) for key, _ in snapshots.read_list(target, one))
    count = 0
    for batch in listing.unnamed():
        needed = _families_of_rows({keys.family(key) for key in batch})
        for key in batch:
            if keys.family(key) not in needed:
                target.store.remove(POOL + key)
                failpoint("backup.forgetting")
                log.info("%s removed from %s: no snapshot names it", key, target.url)
                count += 1
    return count


def _families_of_rows(families: Collection[str]) -> set[str]:
    """Those that a row has now: the second look, at the moment of acting."""
    media, by_stem = MediaAttachment, {family.lower(): family for family in families}
    found = db.session.scalars(
        sa.select(media.file_stem).where(media.file_stem.in_(by_stem), media.is_in("kept"))
    ).all()
    db.session.commit()
    return {by_stem[stem] for stem in found}
