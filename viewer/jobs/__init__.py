"""The queue reminds workers that there is work; the rows say which. The only room that imports rq.

A reminder names no row, and may come twice, late, or never: the sweep sends another while anything
is due. A worker that is woken does all that is due, in one process, without a fork.
"""

from viewer.jobs.queues import (
    COPIES,
    INTAKE,
    QUEUES,
    init_app,
    remind,
    remind_of,
    workers_alive,
)
from viewer.jobs.units import collect_media, derive_media, ingest_event
from viewer.jobs.worker import Ended, work, work_copies, work_intake

__all__ = [
    "COPIES",
    "INTAKE",
    "QUEUES",
    "Ended",
    "collect_media",
    "derive_media",
    "ingest_event",
    "init_app",
    "remind",
    "remind_of",
    "work",
    "work_copies",
    "work_intake",
    "workers_alive",
]
