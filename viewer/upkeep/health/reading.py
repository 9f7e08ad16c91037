"""Look at everything, once for page, monitor and metrics."""

import shutil
import uuid
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from viewer import holdings
from viewer.config import Settings, settings
from viewer.extensions import db, now
from viewer.intake import collect, subscription
from viewer.models import (
    Checkpoint,
    MediaAttachment,
    RefusedDelivery,
    RegisteredStore,
    WebhookEvent,
)
from viewer.storage import Unavailable
from viewer.upkeep import verify
from viewer.upkeep.backup import coverage
from viewer.upkeep.health.alarms import ALARMS, UNREAD
from viewer.upkeep.health.figures import Disk, Health, Protection, StoreState
from viewer.upkeep.health.tasks import read_tasks

State = MediaAttachment.State

SUBSCRIPTION_KNOWN = timedelta(hours=1)  # after that nobody knows whether they would tell us
REFUSALS_WITHIN = timedelta(hours=24)


def read_health(queues: dict[str, int] | None, workers: dict[str, int] | None) -> Health:
    """Look at everything. The queue's figures come from the caller: only `jobs` knows Redis."""
    current, moment = settings(), now()
    backups = coverage.read()
    stores, protection = _originals(backups)
    media = MediaAttachment
    states = _pairs(sa.select(media.state, sa.func.count()).group_by(media.state))
    unparsed, unread = WebhookEvent.State.UNPARSED, WebhookEvent.State.RECEIVED
    found = Health(
        states=states,
        bytes_stored=_bytes(media.state == State.STORED),
        bytes_last_90_days=_bytes(
            media.state == State.STORED, media.downloaded_at > moment - timedelta(days=90)
        ),
        oldest_waiting=db.session.scalar(
            sa.select(sa.func.min(media.created_at)).where(
                (media.state == State.PENDING)
                # What was told to a person long ago is tried again now and then: that is no news.
                | (media.state == State.DOWNLOADING)
                & (sa.func.coalesce(media.first_failed_at, moment) > moment - collect.PATIENCE)
            )
        ),
        last_event=db.session.scalar(
            # What was read out of the provider's log proves no webhook.
            sa.select(sa.func.max(WebhookEvent.received_at)).where(
                WebhookEvent.scheme != subscription.LOG_SCHEME
            )
        ),
        subscription=_subscription(moment),
        unread_events=_count(
            WebhookEvent.state == unread, WebhookEvent.received_at < moment - UNREAD
        ),
        unparsed_events=_count(WebhookEvent.state == unparsed),
        refused=_pairs(
            sa.select(RefusedDelivery.reason, sa.func.sum(RefusedDelivery.count))
            .where(RefusedDelivery.hour >= moment - REFUSALS_WITHIN)
            .group_by(RefusedDelivery.reason)
            .order_by(RefusedDelivery.reason)
        ),
        queues=queues,
        workers=workers,
        tasks=read_tasks(),
        disks=_disks(current),
        stores=stores,
        store_problem=holdings.wanted().why_away(),
        checks=verify.read_overview(),
        backups=backups,
        protection=protection,
        alarms=[],
    )
    for alarms in ALARMS:
        found.alarms.extend(alarms(found, moment))
    return found


def _subscription(moment: datetime) -> Checkpoint | None:
    mark = db.session.get(Checkpoint, subscription.CHECKPOINT)
    return mark if mark and moment - mark.updated_at <= SUBSCRIPTION_KNOWN else None


def _pairs(query: sa.Executable) -> dict[Any, int]:
    return {key: int(count) for key, count in db.session.execute(query)}


def _bytes(*conditions: sa.ColumnElement[bool]) -> int:
    return int(
        db.session.scalar(sa.select(sa.func.sum(MediaAttachment.file_size)).where(*conditions)) or 0
    )


def _count(*conditions: sa.ColumnElement[bool]) -> int:
    return (
        db.session.scalar(sa.select(sa.func.count()).select_from(WebhookEvent).where(*conditions))
        or 0
    )


def _disks(current: Settings) -> list[Disk]:
    disks = []
    for name, folder in (("photos", current.media_root), ("database", current.data_dir)):
        if folder.exists():
            usage = shutil.disk_usage(folder)
            disks.append(Disk(name, usage.free, usage.total))
    return disks


def _originals(backups: coverage.Overview) -> tuple[list[StoreState], Protection]:
    """What each store holds, by the rows, and how much of it is in a verified backup, too."""
    media, store, newest = MediaAttachment, RegisteredStore, backups.newest
    is_newer = sa.true() if newest is None else media.downloaded_at > newest.started_at
    held = {  # in one pass: there may be a million
        storage: (files, int(size or 0), newer)
        for storage, files, size, newer in db.session.execute(
            sa.select(
                media.storage,
                sa.func.count(media.id),
                sa.func.sum(media.file_size),
                sa.func.count(media.id).filter(is_newer),
            )
            .where(media.is_in("kept"))
            .group_by(media.storage)
        )
    }
    stores = []
    for row in db.session.scalars(sa.select(store).order_by(store.created_at, store.id)):
        files, size, _ = held.get(row.id, (0, 0, 0))
        stores.append(StoreState(row.address or "", files, size, _why_away(row.id)))
    originals = sum(files for files, _, _ in held.values())
    alone = sum(newer for _, _, newer in held.values())
    # Damaged in the store, and without a right copy in the backup either.
    alone += int(newest.counts.get("lost", 0)) if newest else 0
    return stores, Protection(originals, max(0, originals - alone))


def _why_away(store: uuid.UUID) -> str | None:
    try:
        return holdings.store(store).why_away()
    except Unavailable as trouble:
        return str(trouble)
