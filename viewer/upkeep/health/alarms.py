"""What is an alarm, of which level, and in which words.

  broken     something that should run does not, or photos are in danger: `/healthz` says 503
  attention  a person should look, but everything runs

The office reads `/healthz`, by token, in a monitor of somebody else: no alarm's words name a
customer, a path or an address.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, time, timedelta

import sqlalchemy as sa

from viewer.config import BusinessHours, Settings, settings
from viewer.extensions import db
from viewer.models import MediaAttachment, RefusedDelivery
from viewer.plurals import counted
from viewer.upkeep.backup import coverage
from viewer.upkeep.health import connection, permissions, proxies
from viewer.upkeep.health.figures import Alarm, Health, Level
from viewer.upkeep.health.growth import Forecast, Verdict

State = MediaAttachment.State

LATE = timedelta(minutes=15)  # for a file that is not safe yet
PUSH_LATE, PUSH_BROKEN = timedelta(minutes=15), timedelta(hours=24)  # alone on one disk
UNREAD = timedelta(minutes=2)  # for an event that no worker has read
FALLBACK_KNOWN = timedelta(hours=24)  # since the last file that came from elsewhere
S3_SOON = 30  # days
MANY_CUT = 1_000  # connections a day
CHECK_SILENT = timedelta(hours=30)  # the nightly check has not run


def _store_away(found: Health, _moment: datetime) -> Iterable[Alarm]:
    if found.store_problem:
        yield Alarm("store_away", Level.BROKEN, found.store_problem)


def _other_store_away(found: Health, _moment: datetime) -> Iterable[Alarm]:
    if any(store.problem for store in found.stores if not store.is_own):
        words = "A store does not answer: what is in it alone cannot be shown now. Nothing is lost."
        yield Alarm("other_store_away", Level.BROKEN, words)


def _push_behind(found: Health, moment: datetime) -> Iterable[Alarm]:
    for store in found.stores:
        if store.to_push_since is None or moment - store.to_push_since <= PUSH_LATE:
            continue
        waits = moment - store.to_push_since
        level = Level.BROKEN if waits > PUSH_BROKEN else Level.ATTENTION
        words = f"{counted(store.to_push, 'file')} on one disk alone, the oldest for {_age(waits)}."
        yield Alarm("push_behind", level, words, "The store for new files does not take them.")


def _stores_split(found: Health, _moment: datetime) -> Iterable[Alarm]:
    wanted = [one for one in found.stores if one.is_wanted]
    elsewhere = sum(
        one.files - one.to_push
        for one in found.stores
        if not one.is_wanted and not one.retired_at and (one.host is None or not wanted[0].host)
    )
    if wanted and elsewhere > 0:
        words = f"{counted(elsewhere, 'file')} in another store than new ones."
        yield Alarm("stores_split", Level.ATTENTION, words, "viewer storage move goes on with it.")


def _fallback_reads(found: Health, moment: datetime) -> Iterable[Alarm]:
    last = found.fallback_read_at
    if last and moment - last < FALLBACK_KNOWN:
        words = (
            "Files came from elsewhere than the store that should have them, last"
            f" {_age(moment - last)} ago."
        )
        yield Alarm("fallback_reads", Level.ATTENTION, words, "The log says which, and why.")


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
            # A monitor may keep what /healthz says: what went wrong stands on the page.
            words = f"{task.rule.subject} failed and is tried again; the log says more."
            yield Alarm(f"{task.name}_failed", level, words)


def _redis_silent(found: Health, _moment: datetime) -> Iterable[Alarm]:
    if found.workers is None:
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
        if disk.is_low_on_inodes:
            taken = 1 - disk.free_inodes / disk.inodes
            yield Alarm(
                f"disk_{disk.name}_inodes_low",
                Level.BROKEN,
                f"The disk for the {disk.name} has used {taken:.0%} of its inodes: without one left"
                " it takes no new file, however much room there is.",
                "Remove small files that are not ours, or move to a file system with more"
                " inodes: see docs/operations.md, “Where the originals are”.",
            )


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
        words = mark.said or "Would the provider tell us?"
        yield Alarm("subscription", connection.level(found), words)


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


def _audit_log_altered(found: Health, _moment: datetime) -> Iterable[Alarm]:
    if found.is_audit_log_altered or any(one.has_other_audit_log for one in found.backups.targets):
        words = "The audit log was altered."
        yield Alarm("audit_log_altered", Level.BROKEN, words, "viewer audit verify says where.")


def _backup_unconfigured(found: Health, _moment: datetime) -> Iterable[Alarm]:
    if found.backups.is_unconfigured:
        words = "No backup is set up: one broken disk would take every photo."
        yield Alarm("backup_unconfigured", Level.ATTENTION, words)


def _backup_late(found: Health, moment: datetime) -> Iterable[Alarm]:
    backups = found.backups
    if backups.is_unconfigured or not backups.is_late(moment):
        return
    if backups.verified_at:
        words = f"No verified backup for {_age(moment - backups.verified_at)}."
        yield Alarm("backup_late", Level.BROKEN, words)
    else:
        # The first one of a large store takes its hours.
        is_new = backups.begun_at is None or moment - backups.begun_at <= coverage.LATE
        level = Level.ATTENTION if is_new else Level.BROKEN
        yield Alarm("backup_late", level, "There is no verified backup yet.")


def _backup_target_late(found: Health, moment: datetime) -> Iterable[Alarm]:
    late = found.backups.late(moment)
    if late and not found.backups.is_late(moment):  # else it is said already
        words = f"{counted(len(late), 'target')} without a verified backup for more than a day."
        yield Alarm("backup_target_late", Level.ATTENTION, words)


def _backup_mass_change(found: Health, _moment: datetime) -> Iterable[Alarm]:
    if any(target.is_mass_change for target in found.backups.targets):
        words = (
            "Many originals are gone or altered since the last verified backup:"
            " is it a broken disk, or an attack? Earlier backups stay."
        )
        yield Alarm("backup_mass_change", Level.BROKEN, words)


def _backup_bad(found: Health, _moment: datetime) -> Iterable[Alarm]:
    bad = sum(
        (target.is_bad and not target.is_mass_change) or target.failure is not None
        for target in found.backups.targets
    )
    if bad:
        words = f"The last backup to {counted(bad, 'target')} failed or was not right."
        yield Alarm("backup_bad", Level.ATTENTION, words)


def _backup_healed(found: Health, _moment: datetime) -> Iterable[Alarm]:
    if healed := sum(target.healed for target in found.backups.targets):
        words = f"{counted(healed, 'file')} damaged in a backup, and written again: check its disk."
        yield Alarm("backup_healed", Level.ATTENTION, words)


def _drill_bad(found: Health, _moment: datetime) -> Iterable[Alarm]:
    if bad := sum(target.is_disproven for target in found.backups.targets):
        words = f"The last drill could not restore the backup of {counted(bad, 'target')}."
        yield Alarm("drill_bad", Level.BROKEN, words)


def _drill_late(found: Health, moment: datetime) -> Iterable[Alarm]:
    unproven = [one for one in found.backups.unproven(moment) if not one.is_disproven]
    proven_at = [one.proven_at for one in unproven if one.proven_at]
    if proven_at:
        words = f"No drill has restored a backup for {_age(moment - min(proven_at))}."
        yield Alarm("drill_late", Level.BROKEN, words)
    elif unproven:
        words = "No drill has restored the backup yet: nobody knows whether it comes back."
        yield Alarm("drill_late", Level.ATTENTION, words)


def _orphans(found: Health, _moment: datetime) -> Iterable[Alarm]:
    if found.checks.orphans:
        words = f"{counted(found.checks.orphans, 'file')} in the store that no row names."
        yield Alarm("orphans", Level.ATTENTION, words)


def _media_needs_attention(found: Health, _moment: datetime) -> Iterable[Alarm]:
    if count := found.states.get(State.NEEDS_ATTENTION, 0) + found.incomplete:
        words = f"{counted(count, 'file')} to be looked at by a person."
        yield Alarm("media_needs_attention", Level.ATTENTION, words)


def _decoders_unconfined(found: Health, _moment: datetime) -> Iterable[Alarm]:
    if found.unconfined_by:
        words = "Decoders of received files have more rights on this host than they need."
        lacks = " and ".join(found.unconfined_by)
        yield Alarm(
            "decoders_unconfined",
            Level.ATTENTION,
            words,
            f"{lacks} cannot be had from the kernel, or the container does not let it through: see"
            " docs/operations.md, “What decoders may do”.",
        )


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


def _connections_cut(found: Health, _moment: datetime) -> Iterable[Alarm]:
    """Many: somebody holds connections on purpose. A few are phones that lost their network."""
    if (count := sum(found.cut.values())) >= MANY_CUT:
        words = f"{counted(count, 'slow connection')} cut in the last day."
        yield Alarm("connections_cut", Level.ATTENTION, words)


def _s3_due(found: Health, _moment: datetime) -> Iterable[Alarm]:
    is_low = any(disk.is_low for disk in found.disks if disk.name == "photos")  # said already
    forecasts = found.outlook.forecasts.items()
    due = [_reached(name, one) for name, one in forecasts if not (is_low and name == "disk")]
    if words := " ".join(filter(None, due)):
        step = "viewer storage move --to s3://…: see docs/operations.md, “When to move to S3”."
        yield Alarm("s3_due", Level.ATTENTION, f"{words} S3 is due.", step)


def _reached(name: str, forecast: Forecast) -> str | None:
    """What is reached, or in less than a month; None if neither."""
    if forecast.verdict is Verdict.REACHED:
        return _REACHED[name]
    if forecast.likely is None or forecast.likely >= S3_SOON:
        return None
    return f"{_SOON[name]} in about {_age(timedelta(days=forecast.likely))}."


_REACHED = {
    "s3": "There are over 100 GB of originals in folders.",
    "disk": "The disk for the photos is full.",
}
_SOON = {
    "s3": "At the pace of the last weeks, 100 GB of originals in folders are reached",
    "disk": "At the pace of the last weeks, the disk for the photos is full",
}


# In the order in which a person reads them.
ALARMS: tuple[Callable[[Health, datetime], Iterable[Alarm]], ...] = (
    _store_away,
    _other_store_away,
    _push_behind,
    _task_silent,
    _task_failed,
    _redis_silent,
    _workers_silent,
    _events_unread,
    _media_late,
    _media_damaged,
    _audit_log_altered,
    _verify_mass_change,
    _verify_silent,
    _backup_mass_change,
    _backup_late,
    _drill_bad,
    _drill_late,
    _disk_low,
    connection.secret_missing,
    connection.address_not_public,
    proxies.misfit,
    permissions.open_to_others,
    connection.never_delivered,
    _webhooks_silent,
    _subscription_bad,
    connection.api_key_missing,
    _media_needs_attention,
    _verify_not_done,
    _backup_unconfigured,
    _backup_target_late,
    _backup_bad,
    _backup_healed,
    _orphans,
    _stores_split,
    _fallback_reads,
    _decoders_unconfined,
    _events_unparsed,
    _deliveries_refused,
    _connections_cut,
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
    return (
        f" The last one says it was signed {age} seconds ago by this machine's clock: is that"
        " right? If it is, somebody repeats or forges deliveries."
    )


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
