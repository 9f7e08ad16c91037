"""Fallback reads: a file came from elsewhere than its row says. Nobody may rely on that for long.

Each is logged, and one a minute is recorded, for the alarm `fallback_reads`. The record is written
by a thread: whoever reads a file may hold a transaction, and on SQLite a second connection would
wait for that one.
"""

import logging
import math
import threading
import time
from typing import Any

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.exc import SQLAlchemyError

from viewer.extensions import db, now, upsert
from viewer.models import Checkpoint, MediaAttachment

log = logging.getLogger(__name__)

CHECKPOINT = "fallback_reads"
_EVERY = 60.0  # seconds from one record of this process to its next

_EXTENSION = "fallback_read_at"  # when this process recorded one, by the monotonic clock


def note(media: MediaAttachment, what: str) -> None:
    """Log that this file `what`, such as “is read from its former store”, and have it recorded."""
    log.warning("media=%s %s", media.id, what)
    known, moment = current_app.extensions, time.monotonic()
    if moment < known.get(_EXTENSION, -math.inf) + _EVERY:
        return
    known[_EXTENSION] = moment
    threading.Thread(target=_record, args=(db.engine,), name="fallback", daemon=True).start()


def _record(engine: sa.Engine) -> None:
    values = {"name": CHECKPOINT, "value": "", "updated_at": now()}
    try:
        with engine.begin() as connection:
            connection.execute(upsert(_statement, engine.dialect.name), values)
    except SQLAlchemyError:
        log.warning("A fallback read was not recorded.", exc_info=True)


def _statement(insert: Any) -> sa.Insert:
    made: Any = insert(Checkpoint.__table__)
    statement: sa.Insert = made.on_conflict_do_update(
        index_elements=["name"], set_={"updated_at": made.excluded.updated_at}
    )
    return statement
