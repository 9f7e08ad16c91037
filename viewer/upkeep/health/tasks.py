"""The scheduled tasks that must be done again and again, and what of them is an alarm."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from viewer.config import settings
from viewer.extensions import db
from viewer.intake import catch_up, rest_client
from viewer.models import ScheduledTask
from viewer.upkeep import host_tasks
from viewer.upkeep.backup import scheduled as backups
from viewer.upkeep.drill import scheduled as drills


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
    "search": TaskRule("Search", "Filling the search index"),
    "statistics": TaskRule("Statistics", "Bringing the database's statistics up to date"),
    "totals": TaskRule("Totals", "Counting all files"),
    "verify": TaskRule("Verify", "Checking the originals"),
    "audit": TaskRule("Audit log", "Verifying the audit log"),
    "mail": TaskRule("Mail", "Sending mail to staff"),
    "retention": TaskRule("Retention", "Ending what was kept long enough"),
    "forget": TaskRule("Forgetting", "Forgetting a customer"),
}
# What each host does for its own folder (`host_tasks`).
HOST_RULES = {
    "tidy": TaskRule("Tidying", "Clearing what dead writers left"),
    "push": TaskRule("Push", "Pushing files to the store for new ones"),
    "clear": TaskRule("Clearing", "Removing moved files from their former store"),
    "quarantine": TaskRule("Quarantine", "Emptying the quarantine"),
    "erase": TaskRule("Erasing", "Erasing the files of forgotten customers"),
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


_TASKS = sa.select(ScheduledTask)


def read_tasks() -> list[WatchedTask]:
    rows = {row.name: row for row in db.session.scalars(_TASKS)}
    has_catch_up = rest_client.is_configured()
    watched = []
    for name, rule in {**TASK_RULES, **_host_rules(rows), **_backup_rules()}.items():
        if name == "catch_up" and not has_catch_up:
            continue
        if name == "mail" and not settings().smtp_url:
            continue
        row = rows.get(name) or ScheduledTask(name=name)
        done_at = row.done_at
        if name == "catch_up":
            # It comes to its end also where the provider refuses everything: that is no success.
            done_at = catch_up.last_whole_run(done_at)
        if rule.silent_after is not None or row.failed_at is not None:
            watched.append(WatchedTask(name, rule, done_at, row.said, row.failed_at, row.problem))
    return watched


def _host_rules(rows: Iterable[str]) -> dict[str, TaskRule]:
    """The rules of the hosts' own tasks that ran at least once."""
    own = {name: host_tasks.task_of(name) for name in rows}
    return {name: HOST_RULES[task] for name, task in own.items() if task in HOST_RULES}


def _backup_rules() -> dict[str, TaskRule]:
    """A late backup is an alarm by the age of the last verified one, whoever made that."""
    rules = {}
    for url in backups.targets():
        rules[backups.task_of(url)] = TaskRule(f"Backup to {url}", "A backup")
        rules[drills.task_of(url)] = TaskRule(f"Drill of {url}", "A drill")
    return rules
