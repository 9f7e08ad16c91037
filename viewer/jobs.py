"""The queue: a reminder of what the rows say is still to do. The only file that imports rq.

Any job may run twice, late, or never; the sweep finds what was forgotten. Arguments are ids.
"""

import functools
import logging
import uuid
from collections.abc import Callable, Iterable

import redis
import rq
from flask import Flask, current_app
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry
from rq.serializers import JSONSerializer
from sqlalchemy.exc import OperationalError

from viewer.config import settings
from viewer.extensions import db
from viewer.holdings import WrongSize
from viewer.intake import derivatives, ingest, sweep
from viewer.intake.collect import collect
from viewer.models import MediaAttachment
from viewer.office import findings
from viewer.storage import Missing

log = logging.getLogger(__name__)

# Downloads never wait behind the making of copies: each queue has workers of its own.
INTAKE, COPIES = "intake", "copies"
QUEUES = (INTAKE, COPIES)

FAILURE_KEPT = 3600  # seconds; each failed run has a hash, and memory must not fill with them
ENQUEUE_PATIENCE = 0.2  # seconds; a webhook's answer never waits longer for Redis

Job = Callable[[str], None]
_app: Flask | None = None


def init_app(app: Flask) -> None:
    """Jobs run in contexts of this application. A forked work horse inherits it."""
    global _app
    _app = app
    app.extensions["redis"] = redis.from_url(
        app.config["SETTINGS"].redis_url,
        socket_timeout=ENQUEUE_PATIENCE,
        socket_connect_timeout=ENQUEUE_PATIENCE,
        retry=Retry(NoBackoff(), 0),
    )


def job(queue: str) -> Callable[[Job], Job]:
    """A function of one id, run by a worker in a fresh context with a session of its own."""

    def wrap(function: Job) -> Job:
        @functools.wraps(function)
        def run(row_id: str) -> None:
            assert _app is not None, "init_app() comes first"  # noqa: S101
            with _app.app_context():
                function(row_id)

        run.queue = queue  # type: ignore[attr-defined]
        return run

    return wrap


@job(INTAKE)
def ingest_event(event_id: str) -> None:
    """Understand an event, then go for its files."""
    try:
        media = ingest.ingest(uuid.UUID(event_id))
        db.session.commit()
    except OperationalError:
        raise  # the database's trouble, not the event's; the sweep comes again
    except Exception as error:
        db.session.rollback()
        ingest.note_failure(uuid.UUID(event_id), error)
        db.session.commit()
        raise
    enqueue(collect_media, *media)


@job(INTAKE)
def collect_media(media_id: str) -> None:
    """Bring one file home, then ask for its copies."""
    if collect(uuid.UUID(media_id)):
        enqueue(derive_media, media_id)


@job(COPIES)
def derive_media(media_id: str) -> None:
    """Make thumbnail, preview and playable copy."""
    try:
        derivatives.make_copies(uuid.UUID(media_id))
    except (Missing, WrongSize) as trouble:
        findings.meet(db.session.get_one(MediaAttachment, uuid.UUID(media_id)), trouble)


def enqueue(function: Job, *row_ids: uuid.UUID | str) -> bool:
    """Remind a worker. Best effort: without Redis the sweep will find the rows."""
    if not row_ids:
        return True
    try:
        queue = _queue(function.queue, current_app.extensions["redis"])  # type: ignore[attr-defined]
        _push(queue, function, row_ids)
    except redis.RedisError as error:
        log.warning("%s not enqueued (%s); the sweep will", function.__name__, type(error).__name__)
        return False
    return True


def remind(due: sweep.Due) -> None:
    """Enqueue what is due and not waiting in its queue already."""
    for function, row_ids in (
        (ingest_event, due.events),
        (collect_media, due.media),
        (derive_media, due.copies),
    ):
        try:
            queue = _queue(function.queue, current_app.extensions["redis"])  # type: ignore[attr-defined]
            waiting = {_work_of(job_id) for job_id in queue.get_job_ids()}
            _push(queue, function, [i for i in row_ids if _work(function, i) not in waiting])
        except redis.RedisError as error:
            log.warning("sweep cannot enqueue (%s); next time", type(error).__name__)
            return


def work(queues: Iterable[str], *, burst: bool = False) -> None:
    """Be a worker on these queues until told to stop (burst: until they are empty)."""
    with current_app.app_context():
        db.engine.dispose()  # nothing open may cross the fork
    connection = redis.from_url(
        settings().redis_url,
        # An outage is waited out; without this a worker dies in the middle of a job.
        retry=Retry(ExponentialBackoff(cap=1, base=0.05), retries=60),
        retry_on_error=[redis.ConnectionError, redis.TimeoutError],
    )
    worker = rq.Worker(
        [_queue(name, connection) for name in queues],
        connection=connection,
        serializer=JSONSerializer,
        worker_ttl=60,
        maintenance_interval=60,
        log_job_description=False,
    )
    worker.work(burst=burst, logging_level="WARNING")


def queue_depths() -> dict[str, int] | None:
    """How many reminders wait in each queue; None if Redis does not answer."""
    try:
        return {name: _queue(name, current_app.extensions["redis"]).count for name in QUEUES}
    except redis.RedisError:
        return None


def workers_alive() -> dict[str, int] | None:
    """How many workers listen on each queue; None if Redis does not answer."""
    try:
        workers = rq.Worker.all(
            connection=current_app.extensions["redis"], serializer=JSONSerializer
        )
    except redis.RedisError:
        return None
    return {name: sum(name in worker.queue_names() for worker in workers) for name in QUEUES}


def _queue(name: str, connection: redis.Redis) -> rq.Queue:
    return rq.Queue(name, connection=connection, serializer=JSONSerializer)


def _work(function: Job, row_id: uuid.UUID | str) -> str:
    return f"{function.__name__}_{row_id}"


def _new_job_id(function: Job, row_id: uuid.UUID | str) -> str:
    """What is to be done, and a suffix of its own for each reminder.

    RQ keeps one hash for each job id and deletes it when the job ends. A reminder that came while
    the same work ran took the hash from under it: that run then ended with InvalidJobOperation and
    was registered as failed, although the file was stored. `unique=True` would not do: it refuses
    a reminder for as long as a hash exists, also that of a worker that died.
    """
    return f"{_work(function, row_id)}_{uuid.uuid4().hex}"


def _work_of(job_id: str) -> str:
    return job_id.rpartition("_")[0]


def _push(queue: rq.Queue, function: Job, row_ids: Iterable[uuid.UUID | str]) -> None:
    with queue.connection.pipeline() as pipe:
        for row_id in row_ids:
            queue.enqueue_call(
                f"viewer.jobs.{function.__name__}",
                args=(str(row_id),),
                job_id=_new_job_id(function, row_id),
                timeout=int(settings().TRANSFER_SECONDS * 2 + 120),
                result_ttl=0,
                failure_ttl=FAILURE_KEPT,
                pipeline=pipe,
            )
        pipe.execute()
