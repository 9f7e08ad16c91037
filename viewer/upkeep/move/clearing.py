"""Remove what former stores still have of moved files.

Not before KEEP_MOVED_DAYS, or sooner if this host's disk runs full; and of each file only after its
new original was read, and once a verified backup that began after its move has it, too. Without a
backup nothing is removed.
"""

import logging
import uuid
from datetime import datetime, timedelta

import sqlalchemy as sa

from viewer import holdings
from viewer.config import settings
from viewer.extensions import db, now, one_query
from viewer.holdings import WrongBytes
from viewer.models import MediaAttachment
from viewer.office import findings
from viewer.plurals import counted
from viewer.storage import Unavailable
from viewer.upkeep.backup import coverage
from viewer.upkeep.health.figures import Disk

log = logging.getLogger(__name__)

EVERY = 3600.0  # seconds
LEASE = 1800.0  # seconds
BATCH = 200  # rows of one query

NO_BACKUP = "Nothing is removed from former stores: no verified backup has the moved files."


def clear() -> str:
    """Clear what may be cleared now. How it went, in a line."""
    cleared, last = 0, None
    backed_up_at = _backed_up_at()
    if backed_up_at is None:
        return NO_BACKUP if _next(now(), None) else "nothing is waiting"
    kept_for = timedelta(0 if _is_disk_low() else settings().KEEP_MOVED_DAYS)
    before = min(backed_up_at, now() - kept_for)
    while found := _next(before, last):
        for media_id in found:
            cleared += _clear(media_id, before)
        last = found[-1]
    return f"{counted(cleared, 'file')} removed from former stores"


def _clear(media_id: uuid.UUID, before: datetime) -> bool:
    try:
        return holdings.clear_former(media_id, before)
    except Unavailable as trouble:
        log.warning("media=%s stays in its former store: %s", media_id, trouble)
    except WrongBytes as trouble:
        findings.note_wrong_bytes(media_id, trouble)
    return False


def _next(before: datetime, after: uuid.UUID | None) -> list[uuid.UUID]:
    """Moved rows that this host may clear, by id: what could not be cleared is passed by."""
    media = MediaAttachment
    query = (
        sa.select(media.id)
        .where(
            media.is_in("moved"),
            media.is_in("kept"),
            (media.moved_at < before) | media.moved_at.is_(None),
            holdings.is_within_reach(),
        )
        .order_by(media.id)
        .limit(BATCH)
    )
    with one_query() as connection:
        return list(connection.scalars(query if after is None else query.where(media.id > after)))


def _backed_up_at() -> datetime | None:
    newest = coverage.read().newest
    db.session.commit()
    return newest.started_at if newest else None


def _is_disk_low() -> bool:
    disk = Disk.of("photos", settings().media_root)
    return disk.is_low or disk.is_low_on_inodes
