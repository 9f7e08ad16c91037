"""What is done by the clock, on any number of hosts, each thing by one of them at a time."""

import logging
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from flask import Flask

from viewer import jobs
from viewer.extensions import db
from viewer.intake import catch_up, rest_client, sweep
from viewer.models import ScheduledTask
from viewer.quo import rest
from viewer.search import indexing
from viewer.upkeep import analyze

log = logging.getLogger(__name__)

TICK = 1.0  # seconds between two looks at whether a duty is due
AFTER_TROUBLE = 5.0


@dataclass(frozen=True, slots=True)
class Task:
    """A duty and what doing it means; it returns one line about how it went."""

    name: str
    every: float  # seconds
    lease: float  # seconds after which another host may take it up
    do: Callable[[], str]


def run(app: Flask, stop: threading.Event) -> None:
    """Do what is due until told to stop. A thread each: a first import must not stop the sweep."""
    tasks = [
        Task("sweep", sweep.EVERY, 60, _sweep),
        Task("tidy", sweep.TIDY_EVERY, 1800, _tidy),
        Task("search", indexing.EVERY, 1800, _fill_search),
        Task("statistics", analyze.EVERY, 600, analyze.refresh),
    ]
    with app.app_context():
        if rest_client.is_configured():
            tasks.append(Task("catch_up", catch_up.EVERY, 1800, _catch_up))
    threads = [
        threading.Thread(target=_keep_doing, args=(app, task, stop), name=task.name, daemon=True)
        for task in tasks
    ]
    for thread in threads:
        thread.start()
    stop.wait()
    for thread in threads:
        thread.join(timeout=5)


def _keep_doing(app: Flask, task: Task, stop: threading.Event) -> None:
    me = f"{socket.gethostname()}:{os.getpid()}:{task.name}"
    try:
        while not stop.wait(TICK):
            with app.app_context():  # a session of its own each time
                _try_once(task, me, stop)
    finally:
        # The unexpected ends the whole process, loudly; its supervisor starts it again.
        stop.set()


def _try_once(task: Task, me: str, stop: threading.Event) -> None:
    try:
        do_if_due(task, me)
    except sa.exc.OperationalError as error:
        log.warning("%s could not reach the database: %s", task.name, error.orig)
        stop.wait(AFTER_TROUBLE)
    except rest.RestError as trouble:
        log.warning("%s: %s", task.name, trouble.reason)
        stop.wait(AFTER_TROUBLE)


def do_if_due(task: Task, me: str) -> bool:
    """Do it, if it is due and nobody else is at it. Whether it was done."""
    taken = ScheduledTask.take_lease(task.name, me, seconds=task.lease, every=task.every)
    db.session.commit()
    if taken:
        said = task.do()
        ScheduledTask.finish(task.name, me, said)
        db.session.commit()
    return taken


def _sweep() -> str:
    due = sweep.sweep()
    db.session.commit()
    jobs.remind(due)
    return str(due)


def _tidy() -> str:
    return f"{sweep.tidy()} leftovers cleared"


def _catch_up() -> str:
    client = rest_client.new_client()
    if client is None:
        return "there is no API key"
    with client:
        return str(catch_up.catch_up(client))


def _fill_search() -> str:
    return f"{indexing.fill_index()} older rows read"
