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
UNPROVEN = timedelta(days=8)  # without a drill that restored one

Kind = UpkeepRun.Kind
Outcome = UpkeepRun.Outcome


@dataclass(frozen=True, slots=True)
class TargetState:
    """A target of the settings, or one that was backed up to by hand or cron."""

    url: str
    is_configured: bool
    last: UpkeepRun | None  # that ended, however
    compared: UpkeepRun | None  # the newest that did its work, whatever it found
    verified: UpkeepRun | None  # the newest good one
    drill: UpkeepRun | None  # the newest that ended, however
    proven: UpkeepRun | None  # the newest good drill

    @property
    def verified_at(self) -> datetime | None:
        return self.verified.ended_at if self.verified else None

    @property
    def proven_at(self) -> datetime | None:
        """When a drill restored the backup last."""
        return self.proven.ended_at if self.proven else None

    @property
    def is_disproven(self) -> bool:
        """Whether the last drill could not restore the backup."""
        return self.drill is not None and self.drill.outcome is not Outcome.GOOD

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
    def has_other_audit_log(self) -> bool:
        """Whether the audit log does not go on from what its snapshots recorded."""
        return self.compared is not None and bool(self.compared.counts.get("is_audit_log_altered"))

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

    @property
    def proven_at(self) -> datetime | None:
        """When there was last a proven backup, wherever."""
        return max((one.proven_at for one in self.targets if one.proven_at), default=None)

    def unproven(self, moment: datetime) -> list[TargetState]:
        """Targets of the settings with a verified backup that no drill restored for eight days."""
        return [
            one
            for one in self.targets
            if one.is_configured
            and one.verified
            and (one.proven_at is None or one.proven_at < moment - UNPROVEN)
        ]

    def late(self, moment: datetime) -> list[TargetState]:
        """Targets of the settings without a verified backup for 26 hours."""
        return [one for one in self.targets if one.is_configured and one.is_late(moment)]


def read() -> Overview:
    """Runs of a clock that was ahead do not count."""
    newest: dict[tuple[Kind, str, Outcome | None], UpkeepRun] = {}
    for run in _newest_runs():
        newest[run.kind, run.subject, run.outcome] = newest[run.kind, run.subject, None] = run

    def state_of(url: str) -> TargetState:
        good, bad = (newest.get((Kind.BACKUP, url, one)) for one in (Outcome.GOOD, Outcome.BAD))
        return TargetState(
            url,
            url in configured,
            newest.get((Kind.BACKUP, url, None)),
            max(filter(None, (good, bad)), key=lambda run: run.started_at, default=None),
            good,
            newest.get((Kind.DRILL, url, None)),
            newest.get((Kind.DRILL, url, Outcome.GOOD)),
        )

    configured = settings().BACKUP_TARGETS
    backed_up = {subject for kind, subject, _ in newest if kind is Kind.BACKUP}
    urls = [*configured, *sorted(backed_up - set(configured))]
    return Overview(
        [state_of(url) for url in urls],
        db.session.scalar(_BEGUN),
    )


def _newest_runs() -> Sequence[UpkeepRun]:
    """Of each target the newest backup and drill, and the newest of each outcome; oldest first."""
    return db.session.scalars(_NEWEST, {"latest": now() + SKEW}).all()


_BEGUN = sa.select(sa.func.min(RegisteredStore.created_at))
_run = UpkeepRun
_ranked = (
    sa.select(
        _run.id,
        sa.func.row_number()
        .over(partition_by=(_run.kind, _run.subject), order_by=_run.started_at.desc())
        .label("of_all"),
        sa.func.row_number()
        .over(partition_by=(_run.kind, _run.subject, _run.outcome), order_by=_run.started_at.desc())
        .label("of_outcome"),
    )
    .where(
        _run.kind.in_((Kind.BACKUP, Kind.DRILL)),
        _run.ended_at.is_not(None),
        _run.started_at <= sa.bindparam("latest"),
    )
    .subquery()
)
_NEWEST = (  # built once: monitors ask every few seconds
    sa.select(_run)
    .join(_ranked, _ranked.c.id == _run.id)
    .where((_ranked.c.of_all == 1) | (_ranked.c.of_outcome == 1))
    .order_by(_run.started_at)
)
