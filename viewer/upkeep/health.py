"""Silence is an alarm: what stopped, what is late, what is missing, in words for the owner.

One reading serves the status page, `/healthz` and `/metrics`, so they never disagree.

  broken     something that should run does not, or photos are in danger: `/healthz` says 503
  attention  a person should look, but everything runs
"""

import enum
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

import sqlalchemy as sa

from viewer import holdings
from viewer.config import BusinessHours, Settings, settings
from viewer.extensions import db, now
from viewer.intake import catch_up, collect, rest_client, subscription
from viewer.models import Checkpoint, MediaAttachment, RefusedDelivery, ScheduledTask, WebhookEvent
from viewer.plurals import counted
from viewer.upkeep import verify

State = MediaAttachment.State

LATE = timedelta(minutes=15)  # for a file that is not safe yet
UNREAD = timedelta(minutes=2)  # for an event that no worker has read
CHECK_SILENT = timedelta(hours=30)  # the nightly check has not run
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
class TaskRule:
    """What of a scheduled task is an alarm."""

    title: str
    subject: str  # the beginning of “… failed.”
    is_vital: bool = False  # whether a failure breaks something at once
    silent_after: timedelta | None = None  # None: late is no harm
    silence: str = ""  # the beginning of “… for 3 hours.”


TASK_RULES = {
    "sweep": TaskRule(
        "Sweep",
        "The sweep",
        is_vital=True,
        silent_after=timedelta(seconds=60),
        silence="The sweep, which takes up what got stuck, has not run",
    ),
    "catch_up": TaskRule(
        "Catch-up",
        "Catching up with the phone provider",
        silent_after=timedelta(minutes=30),  # three runs
        silence="Catching up with the phone provider has not succeeded",
    ),
    "tidy": TaskRule("Tidying", "Clearing what dead writers left"),
    "search": TaskRule("Search", "Filling the search index"),
    "statistics": TaskRule("Statistics", "Bringing the database's statistics up to date"),
    "verify": TaskRule("Verify", "Checking the originals"),
}


@dataclass(frozen=True, slots=True)
class WatchedTask:
    """A scheduled task that must be done again and again, or that failed the last time."""

    name: str
    rule: TaskRule
    done_at: datetime | None  # when it last went well
    said: str | None
    failed_at: datetime | None  # None: the last run went well
    problem: str | None

    @property
    def title(self) -> str:
        return self.rule.title

    @property
    def is_failing(self) -> bool:
        return self.failed_at is not None


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
    tasks: list[WatchedTask]
    disks: list[Disk]
    store_problem: str | None  # why the store is away
    checks: verify.Overview
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


def read_health(queues: dict[str, int] | None, workers: dict[str, int] | None) -> Health:
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
        tasks=_tasks(),
        disks=_disks(current),
        store_problem=holdings.wanted().why_away(),
        checks=verify.read_overview(),
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


def _tasks() -> list[WatchedTask]:
    rows = {row.name: row for row in db.session.scalars(sa.select(ScheduledTask))}
    has_catch_up = rest_client.is_configured()
    watched = []
    for name, rule in TASK_RULES.items():
        if name == "catch_up" and not has_catch_up:
            continue
        row = rows.get(name) or ScheduledTask(name=name)
        done_at = row.done_at
        if name == "catch_up":
            # It comes to its end also where the provider refuses everything: that is no success.
            done_at = catch_up.last_whole_run(done_at)
        if rule.silent_after is not None or row.failed_at is not None:
            watched.append(WatchedTask(name, rule, done_at, row.said, row.failed_at, row.problem))
    return watched


def _disks(current: Settings) -> list[Disk]:
    disks = []
    for name, folder in (("photos", current.media_root), ("database", current.data_dir)):
        if folder.exists():
            usage = shutil.disk_usage(folder)
            disks.append(Disk(name, usage.free, usage.total))
    return disks


def _store_away(found: Health, _moment: datetime) -> Iterable[Alarm]:
    if found.store_problem:
        yield Alarm("store_away", Level.BROKEN, found.store_problem)


def _task_silent(found: Health, moment: datetime) -> Iterable[Alarm]:
    for task in found.tasks:
        if task.rule.silent_after is None:
            continue
        if task.done_at is None or moment - task.done_at > task.rule.silent_after:
            last = f"for {_age(moment - task.done_at)}" if task.done_at else "yet"
            yield Alarm(f"{task.name}_silent", Level.BROKEN, f"{task.rule.silence} {last}.")


def _task_failed(found: Health, _moment: datetime) -> Iterable[Alarm]:
    for task in found.tasks:
        if task.is_failing:
            level = Level.BROKEN if task.rule.is_vital else Level.ATTENTION
            # Anybody may read it in /healthz: what went wrong stands on the page.
            words = f"{task.rule.subject} failed and is tried again; the log says more."
            yield Alarm(f"{task.name}_failed", level, words)


def _redis_silent(found: Health, _moment: datetime) -> Iterable[Alarm]:
    if found.queues is None:
        words = "Redis does not answer: everything is late, nothing lost."
        yield Alarm("redis_silent", Level.BROKEN, words)


def _workers_silent(found: Health, _moment: datetime) -> Iterable[Alarm]:
    for queue, count in (found.workers or {}).items():
        if count == 0:
            words = f"No worker looks after “{queue}”."
            yield Alarm(f"workers_{queue}_silent", Level.BROKEN, words)


def _events_unread(found: Health, _moment: datetime) -> Iterable[Alarm]:
    if found.unread_events:
        words = f"{counted(found.unread_events, 'delivery')} unread for more than {_age(UNREAD)}."
        yield Alarm("events_unread", Level.BROKEN, words)


def _media_late(found: Health, moment: datetime) -> Iterable[Alarm]:
    if found.oldest_waiting and moment - found.oldest_waiting > LATE:
        age = _age(moment - found.oldest_waiting)
        words = f"The oldest file on its way has waited for {age}."
        yield Alarm("media_late", Level.BROKEN, words)


def _disk_low(found: Health, _moment: datetime) -> Iterable[Alarm]:
    for disk in found.disks:
        if disk.is_low:
            words = f"The disk for the {disk.name} is {1 - disk.free / disk.total:.0%} full."
            yield Alarm(f"disk_{disk.name}_low", Level.BROKEN, words)


def _webhooks_silent(found: Health, moment: datetime) -> Iterable[Alarm]:
    current = settings()
    silence = current.SILENCE_HOURS
    if found.last_event and silence:
        hours = business_hours_between(found.last_event, moment, current)
        if hours >= silence:
            words = f"The phone provider has delivered nothing for {hours:.0f} business hours."
            yield Alarm("webhooks_silent", Level.BROKEN, words)


def _subscription_bad(found: Health, _moment: datetime) -> Iterable[Alarm]:
    mark = found.subscription
    if mark is not None and mark.value not in ("good", "unseen"):
        yield Alarm("subscription", Level.BROKEN, mark.said or "Would the provider tell us?")


def _media_damaged(found: Health, _moment: datetime) -> Iterable[Alarm]:
    if count := found.states.get(State.DAMAGED, 0):
        words = f"{counted(count, 'original')} damaged in the store, and not repaired yet."
        yield Alarm("media_damaged", Level.BROKEN, words)


def _verify_silent(found: Health, moment: datetime) -> Iterable[Alarm]:
    since = found.checks.due_since
    if since and moment - since > CHECK_SILENT:
        words = f"The nightly check of the originals has not run for {_age(moment - since)}."
        yield Alarm("verify_silent", Level.BROKEN, words)


def _verify_mass_change(found: Health, _moment: datetime) -> Iterable[Alarm]:
    for words in found.checks.mass_changes:
        yield Alarm("verify_mass_change", Level.BROKEN, words)


def _verify_not_done(found: Health, _moment: datetime) -> Iterable[Alarm]:
    if found.checks.failure:
        yield Alarm("verify_not_done", Level.ATTENTION, found.checks.failure)


def _orphans(found: Health, _moment: datetime) -> Iterable[Alarm]:
    if found.checks.orphans:
        words = f"{counted(found.checks.orphans, 'file')} in the store that no row names."
        yield Alarm("orphans", Level.ATTENTION, words)


def _media_needs_attention(found: Health, _moment: datetime) -> Iterable[Alarm]:
    if count := found.states.get(State.NEEDS_ATTENTION, 0):
        words = f"{counted(count, 'file')} to be looked at by a person."
        yield Alarm("media_needs_attention", Level.ATTENTION, words)


def _events_unparsed(found: Health, _moment: datetime) -> Iterable[Alarm]:
    if found.unparsed_events:
        words = f"{counted(found.unparsed_events, 'delivery')} not understood, and kept."
        yield Alarm("events_unparsed", Level.ATTENTION, words)


def _deliveries_refused(found: Health, _moment: datetime) -> Iterable[Alarm]:
    for reason, count in found.refused.items():
        why = reason.replace("_", " ")
        words = f"{counted(count, 'delivery')} refused in the last day: {why}."
        if reason == "stale":
            words += _skew()
        yield Alarm(f"refused_{reason}", Level.ATTENTION, words)


def _s3_due(found: Health, _moment: datetime) -> Iterable[Alarm]:
    if found.bytes_stored > S3_DUE:
        yield Alarm("s3_due", Level.ATTENTION, "There are over 100 GB of media: S3 is due.")


# In the order in which a person reads them.
ALARMS: tuple[Callable[[Health, datetime], Iterable[Alarm]], ...] = (
    _store_away,
    _task_silent,
    _task_failed,
    _redis_silent,
    _workers_silent,
    _events_unread,
    _media_late,
    _media_damaged,
    _verify_mass_change,
    _verify_silent,
    _disk_low,
    _webhooks_silent,
    _subscription_bad,
    _media_needs_attention,
    _verify_not_done,
    _orphans,
    _events_unparsed,
    _deliveries_refused,
    _s3_due,
)


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
