"""How the originals grow, and when a limit is reached at that pace: 100 GB, or a full disk.

The pace is that of the last 13 weeks, 91 days, by when messages were sent: by when their files were
stored, the first import of ten years would be growth of one day. A forecast is a range: from the
busier half of the weeks to the quieter half. What cannot be told yet is said to be so.
"""

import enum
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import mean

from viewer.extensions import now
from viewer.models import RegisteredStore, UpkeepRun
from viewer.upkeep.health.stores import StoreState
from viewer.upkeep.health.totals import WEEKS, Totals

S3_DUE = 100_000_000_000  # bytes of originals in folders; then local disk has had its day
LEAST_KNOWN = 14  # days of growth, below which nothing is foretold
HORIZON = 3650  # days; beyond that nobody plans
WEEK = 7  # days


class Verdict(enum.StrEnum):
    REACHED = "reached"
    TOO_YOUNG = "too_young"  # to be foretold
    NO_GROWTH = "no_growth"
    FAR = "far"  # not within ten years
    AHEAD = "ahead"


@dataclass(frozen=True, slots=True)
class Pace:
    """Bytes of originals a day."""

    quiet: float  # in the quieter half of the weeks
    usual: float
    busy: float  # in the busier half


@dataclass(frozen=True, slots=True)
class Growth:
    """Originals, week by week."""

    total: int  # bytes now
    weeks: tuple[int, ...]  # bytes that came in each, the oldest first; only whole weeks
    known: int  # days for which there have been any, 91 at most
    as_of: datetime  # the end of the last week

    @property
    def totals(self) -> list[int]:
        """Bytes at the beginning of the first week, and at the end of each."""
        found = [self.total]
        for came in reversed(self.weeks):
            found.append(max(0, found[-1] - came))
        return found[::-1]

    @property
    def pace(self) -> Pace | None:
        """None while it is too young to tell."""
        if self.known < LEAST_KNOWN:
            return None
        daily = sorted(came / WEEK for came in self.weeks)
        half = len(daily) // 2
        return Pace(mean(daily[:half]), mean(daily), mean(daily[-half:]))


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a limit is reached, in days; None: not within ten years."""

    verdict: Verdict
    growth: Growth  # of what fills it
    left: int  # bytes of originals until then
    soonest: int | None = None  # at the busy pace
    likely: int | None = None
    latest: int | None = None  # at the quiet pace


@dataclass(frozen=True, slots=True)
class Outlook:
    """Where growth leads. Nowhere, once new files go to S3."""

    is_s3_wanted: bool
    growth: Growth  # of what is in folders; of everything, once new files go to S3
    forecasts: dict[str, Forecast]  # "s3": 100 GB in folders; "disk": this host's is full


def look_ahead(
    counted: Totals,
    stores: Sequence[StoreState],
    runs: Iterable[UpkeepRun],
    free: int | None,
) -> Outlook:
    """`runs`: the newest check of each store. `free`: bytes on the disk for photos, if known."""
    if any(store.is_wanted and store.kind is RegisteredStore.Kind.S3 for store in stores):
        return Outlook(True, _growth(counted, [store.id for store in stores]), {})
    folders = [store for store in stores if store.kind is RegisteredStore.Kind.FOLDER]
    all_of_them = _growth(counted, [store.id for store in folders])
    forecasts = {"s3": foretell(all_of_them, S3_DUE - all_of_them.total)}
    for own in folders:
        if own.is_own and free is not None:
            left = int(free / _on_disk(runs, own.address))
            forecasts["disk"] = foretell(_growth(counted, [own.id]), left)
    return Outlook(False, all_of_them, forecasts)


def foretell(growth: Growth, left: int) -> Forecast:
    """When so many more bytes of originals will have come."""
    pace = growth.pace
    if left <= 0:
        return Forecast(Verdict.REACHED, growth, left)
    if pace is None:
        return Forecast(Verdict.TOO_YOUNG, growth, left)
    if pace.usual == 0:
        return Forecast(Verdict.NO_GROWTH, growth, left)
    soonest, likely, latest = (_days(left, one) for one in (pace.busy, pace.usual, pace.quiet))
    verdict = Verdict.FAR if soonest is None else Verdict.AHEAD
    return Forecast(verdict, growth, left, soonest, likely, latest)


def _days(left: int, pace: float) -> int | None:
    return int(left / pace) if left <= pace * HORIZON else None


def _growth(counted: Totals, stores: Sequence[uuid.UUID]) -> Growth:
    names = [str(one) for one in stores]
    as_of = counted.as_of or now()
    known = 0
    if counted.first_sent_at:
        known = max(0, min((as_of - counted.first_sent_at).days, WEEKS * WEEK))
    weekly = [counted.weekly[name] for name in names if name in counted.weekly]
    came = [sum(one) for one in zip(*weekly, strict=True)] or [0] * WEEKS
    whole = known // WEEK
    return Growth(
        sum(counted.kept_bytes[name] for name in names), tuple(came[WEEKS - whole :]), known, as_of
    )


def _on_disk(runs: Iterable[UpkeepRun], address: str) -> float:
    """How many bytes a folder needs for one of an original: it has thumbnails and previews, too.

    As the nightly check last counted them; one, before the first.
    """
    for run in runs:
        if run.subject == address and (originals := run.counts.get("original_bytes", 0)):
            return 1 + float(run.counts["copy_bytes"] / originals)
    return 1.0
