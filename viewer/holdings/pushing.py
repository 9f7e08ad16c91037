"""Push what was stored here into the store that is wanted for new files.

At once after the download, by the same job, and until it succeeds by a scheduled task of the host
whose folder has the file. While the wanted store is away nobody waits for it: files are collected
and shown from here.
"""

import logging
import time
import uuid
from datetime import datetime, timedelta

import sqlalchemy as sa
from flask import current_app

from viewer.extensions import db, now, one_query
from viewer.holdings import moving
from viewer.holdings.stores import own_id, wanted_id
from viewer.models import MediaAttachment
from viewer.storage import Unavailable

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(minutes=15)
# After the wanted store did not answer, jobs of this process leave it to the scheduled task.
LEFT_ALONE = 30.0  # seconds


def due_from_now() -> dict[str, object]:
    """The column values of a row that was stored here just now."""
    moment = None if wanted_id() == own_id() else now()
    return {"push_wanted_at": moment, "push_due_at": moment}


def push_now(media_id: uuid.UUID) -> None:
    """Try once, unless nothing is to be done, or the wanted store was away a moment ago. Commits.

    Raises WrongBytes, StrangeFile.
    """
    is_left_alone = time.monotonic() < current_app.extensions.get("left_alone_until", 0.0)
    if not is_left_alone and (target := wanted_id()) != own_id():
        _push_to(target, media_id)


def push(media_id: uuid.UUID) -> bool:
    """Whether the row names the wanted store now, or has nothing to be pushed. Commits.

    What the store cannot take now is due again later. Raises WrongBytes, StrangeFile.
    """
    target = wanted_id()
    if target == own_id():  # that was wanted when it was stored, and no longer is
        _not_due(media_id, target)
        return True
    return _push_to(target, media_id)


def _push_to(target: uuid.UUID, media_id: uuid.UUID) -> bool:
    try:  # a move back may begin meanwhile
        moved = moving.move(media_id, target, if_wanted=True)
    except Unavailable as trouble:
        current_app.extensions["left_alone_until"] = time.monotonic() + LEFT_ALONE
        _later(media_id, str(trouble))
        return False
    if moved.outcome in (moving.Outcome.CHANGED, moving.Outcome.HELD):
        _later(media_id, f"The file {moved.outcome.value}.")
        return False
    if moved.outcome is moving.Outcome.NOTHING_TO_DO:
        _not_due(media_id, target)
    return True


def put_off(media_id: uuid.UUID, problem: str) -> None:
    """Push it as late as may be: a person has to look first. Commits."""
    MediaAttachment.change_if(
        media_id, _is_here(), push_due_at=now() + LONGEST_PAUSE, push_problem=problem[:500]
    )
    db.session.commit()


def due(limit: int) -> list[uuid.UUID]:
    """What this host's folder has and the wanted store has not, the oldest first."""
    media, moment = MediaAttachment, now()
    with one_query() as connection:
        return list(
            connection.scalars(
                sa.select(media.id)
                .where(
                    media.is_in("to_push"),
                    media.storage == own_id(),
                    _is_due(moment),
                )
                .order_by(media.push_due_at)
                .limit(limit)
            )
        )


def _is_due(moment: datetime) -> sa.ColumnElement[bool]:
    # A clock that ran ahead must not put it off for years.
    due_at = MediaAttachment.push_due_at
    return (due_at <= moment) | (due_at > moment + 2 * LONGEST_PAUSE)


def _later(media_id: uuid.UUID, problem: str) -> None:
    attempts = MediaAttachment.push_attempts
    tried = db.session.scalar(sa.select(attempts).where(MediaAttachment.id == media_id)) or 0
    pause = min(FIRST_PAUSE * 2 ** min(tried, 20), LONGEST_PAUSE)
    MediaAttachment.change_if(
        media_id,
        MediaAttachment.is_in("kept"),
        _is_here(),
        push_due_at=now() + pause,
        push_attempts=attempts + 1,
        push_problem=problem[:500],
    )
    db.session.commit()
    log.warning("media=%s is not pushed yet: %s", media_id, problem)


def _is_here() -> sa.ColumnElement[bool]:
    """Else a move was quicker than this push, and there is nothing left to be pushed."""
    return MediaAttachment.storage == own_id()


def _not_due(media_id: uuid.UUID, target: uuid.UUID) -> None:
    MediaAttachment.change_if(
        media_id,
        sa.or_(
            MediaAttachment.storage == target,
            MediaAttachment.downloaded_at.is_(None),
            MediaAttachment.purged_at.is_not(None),
        ),
        push_wanted_at=None,
        push_due_at=None,
        push_attempts=0,
        push_problem=None,
    )
    db.session.commit()
