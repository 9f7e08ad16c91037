"""What is done by the clock, on any number of hosts, each thing by one of them at a time.

Each task has a thread of its own and fails alone: the failure is logged, recorded on its
`ScheduledTask` (the status page and `/healthz` read it there), and tried again with backoff.
"""

import logging
import os
import socket
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from flask import Flask, current_app

from viewer import jobs, leases
from viewer.config import settings
from viewer.extensions import db, note_outage
from viewer.intake import catch_up, collect, rest_client, sweep
from viewer.models import ScheduledTask
from viewer.office import audit, audit_chain, mail, retention, sharing, trash
from viewer.quo import rest
from viewer.search import indexing
from viewer.upkeep import analyze, forget, host_tasks, verify
from viewer.upkeep.backup import scheduled as backups
from viewer.upkeep.drill import scheduled as drills
from viewer.upkeep.health import totals
from viewer.upkeep.move import clearing, pushing
from viewer.watchdog import Watchdog

log = logging.getLogger(__name__)

TICK = 1.0  # seconds between two looks at whether a task is due
AFTER_TROUBLE = 5.0  # seconds, where not even the failure could be recorded
RENEWALS = 3  # in each lease
RENEWED_FOR = 20  # leases; another host takes up what hangs for longer
LAST_GRACE = 5.0  # seconds for all tasks together, when told to stop


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    """What a task does and how often.

    Named apart from `ScheduledTask`, its row: a definition is code and the same on every host, the
    row is state that the hosts share.
    """

    name: str
    every: float  # seconds
    lease: float  # seconds after which another host may take it up
    run: Callable[[], str]  # returns one line about how it went


def definitions(*, with_catch_up: bool, with_mail: bool) -> list[TaskDefinition]:
    tasks = [
        TaskDefinition("sweep", sweep.EVERY, 60, _sweep),
        TaskDefinition("search", indexing.EVERY, 1800, _fill_search),
        TaskDefinition("statistics", analyze.EVERY, 600, analyze.refresh),
        TaskDefinition("totals", totals.EVERY, 600, totals.count),
        TaskDefinition("verify", verify.EVERY, 1800, partial(_verify, verify.shared_stores)),
        TaskDefinition("audit", audit_chain.EVERY, 600, _audit),
        TaskDefinition("retention", retention.EVERY, 1800, retention.end_what_is_old),
        TaskDefinition("forget", forget.EVERY, forget.LEASE, forget.forget_due),
    ]
    if with_mail:
        tasks.append(TaskDefinition("mail", mail.EVERY, 600, mail.send_due))
    if with_catch_up:
        tasks.append(TaskDefinition("catch_up", catch_up.EVERY, 1800, _catch_up))
    return tasks


def host_definitions() -> list[TaskDefinition]:
    """What each host does for its own folder: no other could."""
    return [
        TaskDefinition(host_tasks.name_of(name), every, lease, run)
        for name, every, lease, run in (
            ("tidy", sweep.TIDY_EVERY, 1800, _tidy),
            ("push", pushing.EVERY, pushing.LEASE, _push),
            ("clear", clearing.EVERY, clearing.LEASE, clearing.clear),
            ("erase", forget.EVERY, forget.LEASE, forget.clear_own),
            ("quarantine", retention.EVERY, 1800, _empty_quarantine),
            ("verify", verify.EVERY, 1800, partial(_verify, verify.own_store)),
        )
    ]


def backup_definitions() -> list[TaskDefinition]:
    """A task for each target of the settings: one whose disk hangs holds up no other."""
    return [
        TaskDefinition(
            backups.task_of(url), backups.every(), backups.LEASE, partial(backups.run, url)
        )
        for url in backups.targets()
    ]


def drill_definitions() -> list[TaskDefinition]:
    """The same for drills: a backup may go on while one runs."""
    return [
        TaskDefinition(drills.task_of(url), drills.EVERY, drills.LEASE, partial(drills.run, url))
        for url in backups.targets()
    ]


def run(app: Flask, stop: threading.Event, watchdog: Watchdog | None = None) -> None:
    """Run what is due until told to stop. A thread each: a first import must not stop the sweep."""
    with app.app_context():
        tasks = definitions(
            with_catch_up=rest_client.is_configured(), with_mail=bool(settings().smtp_url)
        )
        tasks += host_definitions() + backup_definitions() + drill_definitions()
    run_tasks(app, tasks, stop, watchdog)


def run_tasks(
    app: Flask,
    tasks: list[TaskDefinition],
    stop: threading.Event,
    watchdog: Watchdog | None = None,
) -> None:
    beat = watchdog.beat if watchdog else _nobody_listens
    threads = [
        threading.Thread(
            target=_keep_running, args=(app, task, stop, beat), name=task.name, daemon=True
        )
        for task in tasks
    ]
    for thread in threads:
        thread.start()
    stop.wait()
    deadline = time.monotonic() + LAST_GRACE
    for thread in threads:
        thread.join(timeout=max(0.0, deadline - time.monotonic()))


def _nobody_listens() -> None:
    """No supervisor looks after this process."""


def _keep_running(
    app: Flask, task: TaskDefinition, stop: threading.Event, beat: Callable[[], None]
) -> None:
    holder = f"{socket.gethostname()}:{os.getpid()}:{task.name}"
    while not stop.wait(TICK):
        beat()
        try:
            with app.app_context():  # a session of its own each time
                do_if_due(task, holder)
        except sa.exc.OperationalError as error:
            with app.app_context():
                if not note_outage(error):
                    log.warning("%s could not reach the database: %s", task.name, error.orig)
            stop.wait(AFTER_TROUBLE)
        except Exception:  # the edge of this thread: nobody else would go on with the task
            log.exception("%s could not be taken up", task.name)
            stop.wait(AFTER_TROUBLE)


def do_if_due(task: TaskDefinition, holder: str) -> bool:
    """Run it, if it is due and nobody else is at it. Whether it ran; its failure is recorded."""
    taken = ScheduledTask.take_lease(task.name, holder, seconds=task.lease, every=task.every)
    db.session.commit()
    if not taken:
        return False
    problem = None
    with _renewing_lease(task, holder):
        try:
            said = task.run()
            db.session.commit()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it ends this run alone
            db.session.rollback()
            problem = _note_problem(task, error)
    if problem is None:
        is_recorded = ScheduledTask.finish(task.name, holder, said)
    else:
        is_recorded = ScheduledTask.fail(task.name, holder, problem)
    db.session.commit()
    if not is_recorded:
        log.warning("%s lost its lease: how it went is not recorded", task.name)
    return True


def _note_problem(task: TaskDefinition, error: BaseException) -> str:
    """Log it; its words for the status page, without the error's own: they may name a customer."""
    match error:
        case rest.RestError():
            log.warning("%s failed: %s", task.name, error.reason)
            return error.reason
        case sa.exc.OperationalError():
            if not note_outage(error):
                log.warning("%s failed: the database said %s", task.name, error.orig)
            return "The database did not answer."
    log.error("%s failed", task.name, exc_info=error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(place.filename).name}, line {place.lineno}."


def _renewing_lease(task: TaskDefinition, holder: str) -> AbstractContextManager[None]:
    """Renew the lease beside the work, in a session of its own, while it is ours."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]

    def renew() -> bool:
        with app.app_context():
            is_ours = ScheduledTask.renew(task.name, holder, seconds=task.lease)
            db.session.commit()
            return is_ours

    most = RENEWED_FOR * RENEWALS
    return leases.renewed(renew, task.lease / RENEWALS, f"lease of {task.name}", most)


def _sweep() -> str:
    due = sweep.sweep()
    jobs.remind_of(due)
    return str(due)


def _tidy() -> str:
    trash.finish_purges()
    return f"{sweep.tidy() + sharing.tidy()} leftovers cleared"


def _empty_quarantine() -> str:
    return f"{retention.empty_quarantine()} files erased"


def _push() -> str:
    if collect.adopt_own():
        jobs.remind(jobs.COPIES)
    return pushing.push_due()


def _verify(stores: Callable[[], list[uuid.UUID]]) -> str:
    due = [one for one in stores() if verify.is_due(one)]
    return " ".join(str(verify.verify(one, gently=True)) for one in due) or "not due"


def _audit() -> str:
    sealed, verdict = audit.seal_ended(), audit_chain.verify_if_due()
    return f"{sealed} sealed. {verdict or ''}".strip()


def _catch_up() -> str:
    client = rest_client.new_client()
    if client is None:
        return "there is no API key"
    with client:
        return str(catch_up.catch_up(client))


def _fill_search() -> str:
    return f"{indexing.fill_index()} older rows read"
