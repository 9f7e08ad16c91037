"""Read single originals back from a pool: for repairs and restores."""

import logging
from collections.abc import Callable, Sequence
from functools import partial

import sqlalchemy as sa

from viewer.config import settings
from viewer.extensions import db
from viewer.models import MediaAttachment
from viewer.storage import Missing, Opened, Part, StorageError, Unavailable, checksum
from viewer.upkeep.backup import snapshots
from viewer.upkeep.backup.snapshots import POOL, DamagedSnapshot
from viewer.upkeep.backup.targets import target as targets
from viewer.upkeep.backup.targets.target import Target, TargetError

log = logging.getLogger(__name__)

_CHUNK = 1024 * 1024  # bytes


def fill_from_any(media: MediaAttachment, part: Part) -> bool:
    """Fill the part from the first target of the settings that has the right bytes."""
    for url in settings().BACKUP_TARGETS:
        try:
            target = targets.open_target(url)
            if target.viewer != targets.viewer_identity():
                log.warning("%s holds the backups of another viewer", url)
            elif fill(target, media.file_path, media.sha256 or "", part):
                return True
        except (TargetError, StorageError) as trouble:
            log.warning("media=%s: no repair from %s: %s", media.id, url, trouble)
    return False


def fill(target: Target, key: str, sha256: str, part: Part) -> bool:
    """Fill the part with the right bytes, if the pool has them. The caller compares the checksum.

    Raises Unavailable.
    """
    return fill_by_key(target, key, sha256, part) or _copy(
        partial(snapshots.find, target, key, sha256), sha256, part
    )


def fill_by_key(target: Target, key: str, sha256: str, part: Part) -> bool:
    """The same, without reading the lists of all snapshots: that takes minutes for a large pool."""
    return any(
        _copy(partial(target.store.open, POOL + one), sha256, part)
        for one in (key, *_twins(key, sha256))
    )


def _copy(open_file: Callable[[], Opened], sha256: str, part: Part) -> bool:
    """Read it twice, so that nothing wrong is ever written into the part."""
    try:
        if checksum(open_file()).sha256 != sha256:
            return False
        again = open_file()
    except (Missing, Unavailable, DamagedSnapshot):
        return False
    with again as file:
        while chunk := file.read(_CHUNK):
            part.write(chunk)
    return True


def _twins(key: str, sha256: str) -> Sequence[str]:
    """Keys of other originals with the same bytes: one photo sent twice lies in the pool twice."""
    media = MediaAttachment
    found = db.session.scalars(
        sa.select(media.file_path).where(media.sha256 == sha256, media.file_path != key)
    ).all()
    db.session.commit()
    return found
