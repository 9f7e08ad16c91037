"""What is known of the backups: for the status page, `/healthz` and `/metrics`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from viewer.config import settings
from viewer.extensions import db, now
from viewer.models import RegisteredStore, UpkeepRun
from viewer.models.scheduled_tasks import SKEW

LATE = timedelta(hours=26)  # without a verified backup

Outcome = UpkeepRun.Outcome


@dataclass(frozen=True, slots=True)
class TargetState:
    """A target of the settings, or one that was backed up to by hand or cron."""

    url: str
    is_configured: bool
    last: UpkeepRun | None  # that ended, however
    compared: UpkeepRun | None  # the newest that did its work, whatever it found
    verified: UpkeepRun | None  # the newest good one

    @property
    def verified_at(self) -> datetime | None:
        return self.verified.ended_at if self.verified else None

    @property
    def files(self) -> int:
        """Originals that the last verified snapshot covers."""
        return int(self.verified.counts.get("files", 0)) if self.verified else 0

    @property
    def snapshots(self) -> int:
        return int(self.verified.counts.get("snapshots", 0)) if self.verified else 0

    @property
    def is_bad(self) -> bool:
        """Whether the newest comparison found something wrong, also if later runs failed."""
        return self.compared is not None and self.compared.outcome is Outcome.BAD

    @property
    def failure(self) -> str | None:
        """Why the last run could not do its work, in words."""
        failed = self.last is not None and self.last.outcome is Outcome.FAILED
        return self.last.words if self.last and failed else None

    @property
    def is_mass_change(self) -> bool:
        return self.compared is not None and bool(self.compared.counts.get("is_mass_change"))

    @property
    def healed(self) -> int:
        """Files of the target that were written again lately: its disk may be failing."""
        return int(self.compared.counts.get("healed", 0)) if self.compared else 0

    def is_late(self, moment: datetime) -> bool:
        return self.verified_at is None or self.verified_at < moment - LATE


@dataclass(frozen=True, slots=True)
class Overview:
    """All targets, those of the settings first."""

    targets: Sequence[TargetState]
    begun_at: datetime | None  # when this viewer got its first store

    @property
    def is_unconfigured(self) -> bool:
        """Whether nobody ever said where to back up to."""
        return not self.targets

    @property
    def newest(self) -> UpkeepRun | None:
        """The newest run, of any target, whose snapshot is verified."""
        verified = (one.verified for one in self.targets if one.verified)
        return max(verified, key=lambda run: run.started_at, default=None)

    @property
    def verified_at(self) -> datetime | None:
        """When there was last a verified backup, wherever."""
        return max((one.verified_at for one in self.targets if one.verified_at), default=None)

    def is_late(self, moment: datetime) -> bool:
        """Whether for 26 hours no backup was verified, by the schedule, cron or hand."""
        return self.verified_at is None or self.verified_at < moment - LATE

    def late(self, moment: datetime) -> list[TargetState]:
        """Targets of the settings without a verified backup for 26 hours."""
        return [one for one in self.targets if one.is_configured and one.is_late(moment)]


def read() -> Overview:
    """Runs of a clock that was ahead do not count."""
    run = UpkeepRun
    order = run.started_at.desc()
    ranked = (
        sa.select(
            run.id,
            sa.func.row_number().over(partition_by=run.subject, order_by=order).label("of_all"),
            sa.func.row_number()
            .over(partition_by=(run.subject, run.outcome), order_by=order)
            .label("of_outcome"),
        )
        .where(
            run.kind == run.Kind.BACKUP, run.ended_at.is_not(None), run.started_at <= now() + SKEW
        )
        .subquery()
    )
    newest = (ranked.c.of_all == 1) | (ranked.c.of_outcome == 1)
    found = db.session.scalars(
        sa.select(run).join(ranked, ranked.c.id == run.id).where(newest)
    ).all()
    last: dict[str, UpkeepRun] = {}
    compared: dict[str, UpkeepRun] = {}
    verified: dict[str, UpkeepRun] = {}
    for one in sorted(found, key=lambda one: one.started_at):
        last[one.subject] = one
        if one.outcome in (Outcome.GOOD, Outcome.BAD):
            compared[one.subject] = one
        if one.outcome is Outcome.GOOD:
            verified[one.subject] = one
    configured = settings().BACKUP_TARGETS
    urls = [*configured, *sorted(last.keys() - set(configured))]
    return Overview(
        [
            TargetState(url, url in configured, last.get(url), compared.get(url), verified.get(url))
            for url in urls
        ],
        db.session.scalar(sa.select(sa.func.min(RegisteredStore.created_at))),
    )
