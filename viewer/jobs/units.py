"""Units of work: each on one row, in a fresh application context with a session of its own.

A unit may run twice, late, or on a row that is gone: what the row says decides.
"""

import functools
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flask import Flask, current_app
from sqlalchemy.exc import OperationalError

from viewer import holdings
from viewer.extensions import db
from viewer.holdings import WrongSize
from viewer.intake import collect, derivatives, incomplete, ingest
from viewer.jobs.queues import COPIES, remind
from viewer.models import MediaAttachment
from viewer.office import audit, findings
from viewer.storage import Missing

Unit = Callable[[str], None]


def unit(function: Unit) -> Unit:
    @functools.wraps(function)
    def in_fresh_context(row_id: str) -> None:
        with fresh_context():
            function(row_id)

    return in_fresh_context


@unit
def ingest_event(event_id: str) -> None:
    """Understand an event. Its failure is noted on its row, and raised."""
    try:
        ingest.ingest(uuid.UUID(event_id))
        db.session.commit()
    except OperationalError:
        raise  # the database's trouble, not the event's; the sweep comes again
    except Exception as error:
        db.session.rollback()
        ingest.note_failure(uuid.UUID(event_id), error)
        db.session.commit()
        raise


@unit
def collect_media(media_id: str) -> None:
    """Download a file, or what is missing of one that came cut off, if that is due."""
    if collect.collect(uuid.UUID(media_id)):
        remind(COPIES)
        _push(uuid.UUID(media_id))
    elif incomplete.ask_again(uuid.UUID(media_id)):
        audit.note("complete", subject=("media", uuid.UUID(media_id)))
        db.session.commit()
        remind(COPIES)


def _push(media_id: uuid.UUID) -> None:
    """Into the store that is wanted for new files: until then it is on this disk alone."""
    try:
        holdings.push_now(media_id)
    except holdings.StrangeFile as trouble:
        holdings.put_off(media_id, str(trouble))
    except holdings.WrongBytes as trouble:
        findings.note_wrong_bytes(media_id, trouble)


@unit
def derive_media(media_id: str) -> None:
    """Make thumbnail, preview and playable copy, if they are due."""
    try:
        derivatives.make_copies(uuid.UUID(media_id))
    except (Missing, WrongSize) as trouble:
        findings.meet(db.session.get_one(MediaAttachment, uuid.UUID(media_id)), trouble)


@contextmanager
def fresh_context() -> Iterator[None]:
    """A context of this application, with a session of its own."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    with app.app_context():
        yield
