"""STORAGE_URL: followed by an empty viewer, and compared by one that has files."""

import sqlalchemy as sa

from viewer.config import settings
from viewer.extensions import db
from viewer.models import MediaAttachment, RegisteredStore
from viewer.upkeep.move import target
from viewer.upkeep.move.target import CannotMove

OWN = "folder:"  # each host's MEDIA_ROOT


def follow() -> None:
    """Let new files go where the setting says, or refuse. Idempotent. Commits. Raises CannotMove.

    Where new files go is said by the stores' rows, which all hosts share: a setting that was
    changed on one of them by mistake must not split what belongs together.
    """
    wanted = settings().STORAGE_URL
    if not wanted:
        return
    chosen = db.session.scalar(sa.select(RegisteredStore.address).filter_by(is_wanted=True))
    is_empty = chosen is None and db.session.scalar(sa.select(MediaAttachment.id).limit(1)) is None
    db.session.commit()
    if wanted == (chosen or OWN):
        return
    if not is_empty:
        raise CannotMove(
            f"STORAGE_URL is {wanted}, but the files of this viewer go to {chosen or OWN}. To move "
            f"them: viewer storage move --to '{wanted}'. Else set STORAGE_URL as it was."
        )
    target.take(target.find(wanted))
