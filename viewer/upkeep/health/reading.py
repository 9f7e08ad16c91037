"""Look at everything, once for page, monitor and metrics."""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from viewer import derive, holdings
from viewer.config import Settings, settings
from viewer.extensions import Model, UtcDateTime, db, now
from viewer.intake import collect, subscription
from viewer.models import (
    AuditChain,
    Checkpoint,
    CutConnection,
    MediaAttachment,
    RefusedDelivery,
    WebhookEvent,
)
from viewer.upkeep import verify
from viewer.upkeep.backup import coverage
from viewer.upkeep.health import figures, growth, stores, totals
from viewer.upkeep.health.alarms import ALARMS, UNREAD
from viewer.upkeep.health.figures import (
    Disk,
    Health,
    Protection,
    Waiting,
)
from viewer.upkeep.health.tasks import read_tasks

State = MediaAttachment.State

SUBSCRIPTION_KNOWN = timedelta(hours=1)  # after that nobody knows whether they would tell us
REFUSALS_WITHIN = timedelta(hours=24)


def read_health(workers: dict[str, int] | None) -> Health:
    """Look at everything. The workers alive come from the caller: only `jobs` knows Redis."""
    current, moment = settings(), now()
    backups = coverage.read()
    counted = totals.read()
    places, checks, disks = list(stores.read(counted)), verify.read_overview(), _disks(current)
    free = next((disk.free for disk in disks if disk.name == "photos"), None)
    waiting = db.session.execute(
        _WAITING,
        {
            "unread_before": moment - UNREAD,
            "moment": moment,
            "patient": moment - collect.PATIENCE,
            "most": figures.MOST_WAITING,
        },
    ).one()
    found = Health(
        states={
            **{one: count for one, count in counted.states.items() if one not in _OPEN_STATES},
            **{one: count for one in _OPEN_STATES if (count := waiting._mapping[one.value])},
        },
        incomplete=waiting.incomplete,
        counted_at=counted.as_of,
        bytes_stored=counted.bytes_stored,
        oldest_waiting=min(
            filter(None, (waiting.oldest_pending, waiting.oldest_downloading)), default=None
        ),
        last_event=waiting.last_event,
        subscription=_subscription(moment),
        unread_events=waiting.unread,
        unparsed_events=waiting.unparsed,
        refused=_pairs(_REFUSED, since=moment - REFUSALS_WITHIN),
        cut=_pairs(_CUT, since=moment - REFUSALS_WITHIN),
        waiting=Waiting(waiting.events, waiting.attempts + waiting.expired, waiting.copies),
        workers=workers,
        tasks=read_tasks(),
        disks=disks,
        stores=places,
        outlook=growth.look_ahead(counted, places, checks.runs, free),
        store_problem=holdings.own().why_away(),
        unconfined_by=derive.missing_confinement(),
        fallback_read_at=waiting.fallback_read_at,
        is_audit_log_altered=waiting.audit_problem is not None,
        checks=checks,
        backups=backups,
        protection=_protection(backups, counted),
        alarms=[],
    )
    for alarms in ALARMS:
        found.alarms.extend(alarms(found, moment))
    return found


def _subscription(moment: datetime) -> Checkpoint | None:
    mark = db.session.get(Checkpoint, subscription.CHECKPOINT)
    return mark if mark and moment - mark.updated_at <= SUBSCRIPTION_KNOWN else None


_media, _event, _refusal, _cut, _checkpoint = (
    model.__table__.c
    for model in (MediaAttachment, WebhookEvent, RefusedDelivery, CutConnection, Checkpoint)
)
_IS_OPEN = MediaAttachment.is_in("open")
_OPEN_STATES = (State.PENDING, State.DOWNLOADING, State.NEEDS_ATTENTION, State.DAMAGED)
_REFUSED = (
    sa.select(_refusal.reason, sa.func.sum(_refusal.count))
    .where(_refusal.hour >= sa.bindparam("since"))
    .group_by(_refusal.reason)
    .order_by(_refusal.reason)
)

_CUT = (
    sa.select(_cut.reason, sa.func.sum(_cut.count))
    .where(_cut.hour >= sa.bindparam("since"))
    .group_by(_cut.reason)
    .order_by(_cut.reason)
)


def _one(query: sa.Select[Any], name: str) -> sa.Label[Any]:
    return query.scalar_subquery().label(name)


def _how_many(name: str, table: type[Model], *which: sa.ColumnElement[bool]) -> sa.Label[Any]:
    some = sa.select(sa.literal(1)).select_from(table).where(*which).limit(_MOST)
    return _one(sa.select(sa.func.count()).select_from(some.subquery()), name)


_MOST = sa.bindparam("most", type_=sa.Integer)
_MOMENT = sa.bindparam("moment", type_=UtcDateTime())
_HAS_URL = MediaAttachment.openphone_url.is_not(None)
# Each of these is answered by an index, however much is stored; all of them in one query.
_WAITING = sa.select(
    _one(sa.select(AuditChain.problem).limit(1), "audit_problem"),
    # One by one: grouped, the same index is asked in half the speed.
    *(
        _one(
            sa.select(sa.func.count())
            .select_from(MediaAttachment.__table__)
            .where(_IS_OPEN, _media.state == one),
            one.value,
        )
        for one in _OPEN_STATES
    ),
    _one(
        sa.select(sa.func.count())
        .select_from(MediaAttachment.__table__)
        .where(MediaAttachment.is_in("incomplete")),
        "incomplete",
    ),
    _one(
        sa.select(sa.func.min(_media.created_at)).where(_IS_OPEN, _media.state == State.PENDING),
        "oldest_pending",
    ),
    _one(
        sa.select(sa.func.min(_media.created_at)).where(
            _IS_OPEN,
            _media.state == State.DOWNLOADING,
            # What was told to a person long ago is tried again now and then: that is no news.
            sa.func.coalesce(_media.first_failed_at, _MOMENT)
            > sa.bindparam("patient", type_=UtcDateTime()),
        ),
        "oldest_downloading",
    ),
    _one(
        # What was read out of the provider's log proves no webhook.
        sa.select(_event.received_at)
        .where(_event.scheme != subscription.LOG_SCHEME)
        .order_by(_event.received_at.desc())
        .limit(1),
        "last_event",
    ),
    _one(
        sa.select(sa.func.count())
        .select_from(WebhookEvent.__table__)
        .where(
            _event.state == WebhookEvent.State.RECEIVED,
            _event.received_at < sa.bindparam("unread_before"),
        ),
        "unread",
    ),
    _one(
        sa.select(sa.func.count())
        .select_from(WebhookEvent.__table__)
        .where(_event.state == WebhookEvent.State.UNPARSED),
        "unparsed",
    ),
    _one(
        sa.select(_checkpoint.updated_at).where(_checkpoint.name == holdings.fallbacks.CHECKPOINT),
        "fallback_read_at",
    ),
    _how_many("events", WebhookEvent, WebhookEvent.state == WebhookEvent.State.RECEIVED),
    # Apart, so that an index answers each.
    _how_many(
        "attempts",
        MediaAttachment,
        MediaAttachment.is_in("to_collect"),
        _HAS_URL,
        MediaAttachment.is_attempt_due(_MOMENT),
    ),
    _how_many(
        "expired", MediaAttachment, _IS_OPEN, _HAS_URL, MediaAttachment.has_expired_lease(_MOMENT)
    ),
    _how_many("copies", MediaAttachment, MediaAttachment.is_due_to_derive(_MOMENT)),
)


def _pairs(query: sa.Executable, **values: object) -> dict[Any, int]:
    return {key: int(count) for key, count in db.session.execute(query, values)}


def _disks(current: Settings) -> list[Disk]:
    disks = []
    for name, folder in (("photos", current.media_root), ("database", current.data_dir)):
        if folder.exists():
            disks.append(Disk.of(name, folder))
    return disks


def _protection(backups: coverage.Overview, counted: totals.Totals) -> Protection:
    """How much of what the stores hold is in a verified backup, too."""
    newest = backups.newest
    originals = counted.kept_files.total()
    if newest is None:
        return Protection(originals, 0)
    alone = db.session.scalar(_KEPT_SINCE, {"moment": newest.started_at}) or 0
    # Damaged in the store, and without a right copy in the backup either.
    alone += int(newest.counts.get("lost", 0))
    return Protection(originals, max(0, originals - alone))


_KEPT_SINCE = (
    sa.select(sa.func.count())
    .select_from(MediaAttachment.__table__)
    .where(MediaAttachment.is_in("kept"), _media.downloaded_at > sa.bindparam("moment"))
)
