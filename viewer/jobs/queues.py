"""Reminders in Redis: one for each queue, however much is due.

A mark beside each queue says that a reminder waits or that a worker is at it, so that webhooks that
are committed together cost one SET. The worker removes the mark before it looks for the last time:
who finds a mark has committed before that look. Who found one a moment ago does not ask Redis again
(`SEEN_FOR`), so the worker's last look comes that much later.
"""

import time

import redis
import rq
from flask import Flask, current_app
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq.serializers import JSONSerializer

from viewer.extensions import REDIS, current_outages
from viewer.intake import sweep

# Downloads never wait behind the making of copies: each queue has workers of its own.
INTAKE, COPIES = "intake", "copies"
QUEUES = (INTAKE, COPIES)
FUNCTIONS = {INTAKE: "viewer.jobs.work_intake", COPIES: "viewer.jobs.work_copies"}

SEEN_FOR = 0.05  # seconds; a tenth of a webhook's CPU was this SET
MARK_SECONDS = 10  # a mark that nobody takes away, as its worker died, is gone by the next sweep
FAILURE_KEPT = 3600  # seconds; each failed run has a hash, and memory must not fill with them
REMIND_PATIENCE = 0.2  # seconds; a webhook's answer never waits longer for Redis


def init_app(app: Flask) -> None:
    app.extensions["marks_seen"] = {}
    app.extensions["redis"] = redis.from_url(
        app.config["SETTINGS"].redis_url,
        socket_timeout=REMIND_PATIENCE,
        socket_connect_timeout=REMIND_PATIENCE,
        retry=Retry(NoBackoff(), 0),
    )


def remind(*names: str) -> bool:
    """Wake a worker of each queue. Best effort: without Redis the sweep will."""
    try:
        for name in names:
            if mark(name):
                _enqueue(name)
    except redis.RedisError as error:
        current_outages().note(REDIS, f"no worker is reminded ({type(error).__name__})")
        return False
    return True


def remind_of(due: sweep.Due) -> None:
    """Send a reminder to each queue that has something due and no reminder waiting, mark or not."""
    for name, is_due, retries in (
        (INTAKE, due.events or due.media, bool(due.events)),
        (COPIES, due.copies, False),
    ):
        try:
            if is_due and not queue(name, _connection()).count:
                _enqueue(name, retries=retries)
        except redis.RedisError as error:
            current_outages().note(REDIS, f"no worker is reminded ({type(error).__name__})")
            return


def pass_on(name: str) -> None:
    """More is due than this worker can take up now: wake another, if none is awake yet."""
    if not queue(name, _connection()).count:
        _enqueue(name)


def mark(name: str) -> bool:
    """Set the mark of this queue. Whether there was none; False if it was there a moment ago."""
    begun, seen = time.monotonic(), _marks_seen()
    if begun < seen.get(name, 0.0) + SEEN_FOR:
        return False
    is_new = bool(_connection().set(_mark_key(name), 1, nx=True, ex=MARK_SECONDS))
    current_outages().end(REDIS)
    seen[name] = begun
    return is_new


def keep_mark(name: str) -> None:
    _connection().set(_mark_key(name), 1, ex=MARK_SECONDS)


def remove_mark(name: str) -> None:
    _marks_seen().pop(name, None)
    _connection().delete(_mark_key(name))


def workers_alive() -> dict[str, int] | None:
    """How many workers listen on each queue; None if Redis does not answer."""
    try:
        workers = rq.Worker.all(connection=_connection(), serializer=JSONSerializer)
    except redis.RedisError:
        return None
    return {name: sum(name in worker.queue_names() for worker in workers) for name in QUEUES}


def queue(name: str, connection: redis.Redis) -> rq.Queue:
    return rq.Queue(name, connection=connection, serializer=JSONSerializer)


def _enqueue(name: str, *, retries: bool = False) -> None:
    queue(name, _connection()).enqueue_call(
        FUNCTIONS[name],
        kwargs={"retries": True} if retries else {},
        timeout=-1,  # each unit of work has a deadline of its own
        result_ttl=0,
        failure_ttl=FAILURE_KEPT,
    )
    current_outages().end(REDIS)


def _connection() -> redis.Redis:
    found: redis.Redis = current_app.extensions["redis"]
    return found


def _marks_seen() -> dict[str, float]:
    """When this process asked for each mark and found it, or set it (monotonic clock)."""
    found: dict[str, float] = current_app.extensions["marks_seen"]
    return found


def _mark_key(name: str) -> str:
    return f"viewer:reminded:{name}"
