"""Fill the pool with what is not in it yet, and tell what could not be brought."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

from viewer.upkeep.backup import pool
from viewer.upkeep.backup.comparison import NAMED
from viewer.upkeep.backup.listing import File, Listing
from viewer.upkeep.backup.pool import Step
from viewer.upkeep.backup.targets.target import Target
from viewer.upkeep.threads import in_threads


@dataclass(slots=True)
class Tally:
    """What became of the files, for the record."""

    copied: int = 0  # originals
    copied_bytes: int = 0
    derivatives: int = 0  # copied as well
    healed: int = 0  # of the target: they were there in an earlier run
    lost: int = 0  # known to be, and not promised
    wrong: int = 0  # gone or altered at the source, which is news

    def counts(self) -> dict[str, int]:
        return asdict(self)


def fill(
    target: Target,
    number: int,
    listing: Listing,
    advance: Callable[[int], None],
    *,
    accept_changes: bool,
) -> tuple[Tally, list[str]]:
    """Copy what is missing. How that went, and the first keys of what is wrong at the source.

    `accept_changes`: a person knows of what is wrong. Raises SourceAway, Unavailable.
    """

    def bring(file: File) -> pool.Outcome:
        return pool.bring(target, number, file)

    tally = Tally()
    wrong: list[str] = []
    for file, outcome in in_threads(bring, listing.to_copy()):
        advance(1)
        if outcome.step is Step.COPIED:
            tally.copied_bytes += outcome.size
            tally.healed += outcome.has_replaced or file.is_known
            if file.sha256 is None:
                tally.derivatives += 1
            else:
                tally.copied += 1
        if file.sha256 is None:
            continue  # a derivative is made again at a restore
        # What could not be replaced is found wrong by the comparison.
        if outcome.step in (Step.COPIED, Step.TRUSTED, Step.DENIED):
            listing.note_done(file, outcome.sha256)
            continue
        listing.leave_out(file)
        if outcome.step is Step.PURGED:
            continue
        if file.is_damaged:
            tally.lost += 1  # its row says so: no news, and the others are covered
            continue
        listing.note_altered(file)
        if accept_changes or listing.is_accepted(file):
            tally.lost += 1
            continue
        tally.wrong += 1
        if len(wrong) < NAMED:
            wrong.append(file.key)
    return tally, wrong
