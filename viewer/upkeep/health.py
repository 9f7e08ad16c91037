"""Silence is an alarm: what stopped, what is late, what is missing, in words for the owner.

One reading serves the status page, `/healthz` and `/metrics`, so they never disagree.

  broken     something that should run does not, or photos are in danger: `/healthz` says 503
  attention  a person should look, but everything runs
"""

import enum
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

import sqlalchemy as sa

from viewer.config import BusinessHours, Settings, settings
from viewer.extensions import db, media_store, now
from viewer.intake import catch_up, collect, rest_client, subscription
from viewer.models import Checkpoint, MediaAttachment, RefusedDelivery, ScheduledTask, WebhookEvent
from viewer.plurals import counted

State = MediaAttachment.State

LATE = timedelta(minutes=15)  # for a file that is not safe yet
UNREAD = timedelta(minutes=2)  # for an event that no worker has read
LEAST_FREE = 0.10  # of a disk
S3_DUE = 100_000_000_000  # bytes of media; then local disk has had its day
SUBSCRIPTION_KNOWN = timedelta(hours=1)  # after that nobody knows whether they would tell us
REFUSALS_WITHIN = timedelta(hours=24)


class Level(enum.StrEnum):
    BROKEN = "broken"
    ATTENTION = "attention"


@dataclass(frozen=True, slots=True)
class Alarm:
    name: str  # stable, for machines
    level: Level
    words: str  # a sentence


@dataclass(frozen=True, slots=True)
class Disk:
    name: str
    free: int  # bytes
    total: int

    @property
    def is_low(self) -> bool:
        return self.free < self.total * LEAST_FREE


@dataclass(frozen=True, slots=True)
class Watched:
    """A duty that must be done again and again, and after how long its silence is an alarm."""

    name: str
    title: str
    words: str  # the beginning of “… for 3 hours.”
    within: timedelta
    done_at: datetime | None  # when it last went well
    said: str | None


@dataclass(frozen=True, slots=True)
class Health:
    """Everything that was looked at."""

    states: dict[MediaAttachment.State, int]
    bytes_stored: int
    bytes_last_30_days: int
    oldest_waiting: datetime | None  # of the files on their way
    last_event: datetime | None
    subscription: Checkpoint | None  # what the catch-up found; None: nobody looked lately
    unread_events: int
    unparsed_events: int
    refused: dict[str, int]  # by reason, in the last 24 hours
    queues: dict[str, int] | None  # reminders waiting; None: Redis does not answer
    workers: dict[str, int] | None  # alive, by queue
    duties: list[Watched]
    disks: list[Disk]
    store_problem: str | None  # why the store is away
    alarms: list[Alarm]

    @property
    def is_broken(self) -> bool:
        return any(alarm.level is Level.BROKEN for alarm in self.alarms)

    @property
    def on_their_way(self) -> int:
        return self.states.get(State.PENDING, 0) + self.states.get(State.DOWNLOADING, 0)

    @property
    def needing_attention(self) -> int:
        return self.states.get(State.NEEDS_ATTENTION, 0) + self.states.get(State.DAMAGED, 0)

    @property
    def bytes_until_s3(self) -> int:
        return max(0, S3_DUE - self.bytes_stored)


def look(queues: dict[str, int] | None, workers: dict[str, int] | None) -> Health:
    """Look at everything. The queue's figures come from the caller: only `jobs` knows Redis."""
    current, moment = settings(), now()
    media = MediaAttachment
    states = _pairs(sa.select(media.state, sa.func.count()).group_by(media.state))
    unparsed, unread = WebhookEvent.State.UNPARSED, WebhookEvent.State.RECEIVED
    found = Health(
        states=states,
        bytes_stored=_bytes(media.state == State.STORED),
        bytes_last_30_days=_bytes(
            media.state == State.STORED, media.downloaded_at > moment - timedelta(days=30)
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
        duties=_duties(current),
        disks=_disks(current),
        store_problem=media_store().why_away(),
        alarms=[],
    )
    found.alarms.extend(_alarms(found, current, moment))
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


def _duties(current: Settings) -> list[Watched]:
    watched = [
        (
            "sweep",
            "Sweep",
            "The sweep, which takes up what got stuck, has not run",
            timedelta(seconds=60),
        )
    ]
    if rest_client.is_configured():
        watched.append(
            (
                "catch_up",
                "Catch-up",
                "Catching up with the phone provider has not succeeded",
                timedelta(minutes=30),  # three runs
            )
        )
    rows = {row.name: row for row in db.session.scalars(sa.select(ScheduledTask))}
    done_at = {name: row.done_at for name, row in rows.items()}
    # It comes to its end also where the provider refuses everything: then it was not done.
    done_at["catch_up"] = catch_up.last_whole_run(done_at.get("catch_up"))
    return [
        Watched(
            name=name,
            title=title,
            words=words,
            within=within,
            done_at=done_at.get(name),
            said=rows[name].said if name in rows else None,
        )
        for name, title, words, within in watched
    ]


def _disks(current: Settings) -> list[Disk]:
    disks = []
    for name, folder in (("photos", current.media_root), ("database", current.data_dir)):
        if folder.exists():
            usage = shutil.disk_usage(folder)
            disks.append(Disk(name, usage.free, usage.total))
    return disks


def _alarms(found: Health, current: Settings, moment: datetime) -> Iterable[Alarm]:
    if found.store_problem:
        yield Alarm("store_away", Level.BROKEN, found.store_problem)
    for duty in found.duties:
        if duty.done_at is None or moment - duty.done_at > duty.within:
            last = f"for {_age(moment - duty.done_at)}" if duty.done_at else "yet"
            yield Alarm(f"{duty.name}_silent", Level.BROKEN, f"{duty.words} {last}.")
    if found.queues is None:
        yield Alarm(
            "redis_silent", Level.BROKEN, "Redis does not answer: everything is late, nothing lost."
        )
    for queue, count in (found.workers or {}).items():
        if count == 0:
            yield Alarm(
                f"workers_{queue}_silent", Level.BROKEN, f"No worker looks after “{queue}”."
            )
    if found.unread_events:
        yield Alarm(
            "events_unread",
            Level.BROKEN,
            f"{counted(found.unread_events, 'delivery')} unread for more than {_age(UNREAD)}.",
        )
    if found.oldest_waiting and moment - found.oldest_waiting > LATE:
        yield Alarm(
            "media_late",
            Level.BROKEN,
            f"The oldest file on its way has waited for {_age(moment - found.oldest_waiting)}.",
        )
    for disk in found.disks:
        if disk.is_low:
            yield Alarm(
                f"disk_{disk.name}_low",
                Level.BROKEN,
                f"The disk for the {disk.name} is {1 - disk.free / disk.total:.0%} full.",
            )
    silence = current.SILENCE_HOURS
    if found.last_event and silence:
        hours = business_hours_between(found.last_event, moment, current)
        if hours >= silence:
            yield Alarm(
                "webhooks_silent",
                Level.BROKEN,
                f"The phone provider has delivered nothing for {hours:.0f} business hours.",
            )
    mark = found.subscription
    if mark is not None and mark.value not in ("good", "unseen"):
        yield Alarm("subscription", Level.BROKEN, mark.said or "Would the provider tell us?")
    if found.needing_attention:
        yield Alarm(
            "media_needs_attention",
            Level.ATTENTION,
            f"{counted(found.needing_attention, 'file')} to be looked at by a person.",
        )
    if found.unparsed_events:
        yield Alarm(
            "events_unparsed",
            Level.ATTENTION,
            f"{counted(found.unparsed_events, 'delivery')} not understood, and kept.",
        )
    for reason, count in found.refused.items():
        yield Alarm(
            f"refused_{reason}",
            Level.ATTENTION,
            f"{counted(count, 'delivery')} refused in the last day: {reason.replace('_', ' ')}."
            + (_skew() if reason == "stale" else ""),
        )
    if found.bytes_stored > S3_DUE:
        yield Alarm("s3_due", Level.ATTENTION, "There are over 100 GB of media: S3 is due.")


def _skew() -> str:
    """What the newest stale delivery says about our clock."""
    noted = db.session.scalar(
        sa.select(RefusedDelivery.header_names)
        .filter_by(reason="stale")
        .order_by(RefusedDelivery.last_at.desc())
        .limit(1)
    )
    age = (noted or "").partition(" s old")[0]
    return f" The last one was signed {age} seconds ago by this machine's clock: is it right?"


def business_hours_between(start: datetime, end: datetime, current: Settings) -> float:
    """How many hours of business lie between two moments, in the display zone; 30 days at most."""
    hours: BusinessHours = current.business_hours
    start = max(start, end - timedelta(days=30))
    day = start.astimezone(current.zone).date()
    total = 0.0
    while day <= end.astimezone(current.zone).date():
        if day.weekday() in hours.days:
            opens = datetime.combine(day, time(hours.opens), current.zone)
            closes = datetime.combine(day, time(0), current.zone) + timedelta(hours=hours.closes)
            overlap = min(end, closes) - max(start, opens)
            total += max(0.0, overlap.total_seconds())
        day += timedelta(days=1)
    return total / 3600


def _age(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    if minutes < 2:
        return f"{int(span.total_seconds())} seconds"
    if minutes < 120:
        return f"{minutes} minutes"
    if minutes < 2 * 24 * 60:
        return f"{minutes // 60} hours"
    return f"{minutes // (24 * 60)} days"
