"""Where a test's files are: in its application's folder, or in S3 alone (TEST_STORE=s3)."""

import uuid
from datetime import timedelta

import sqlalchemy as sa
from flask import current_app

from viewer import holdings
from viewer.extensions import db, now
from viewer.models import MediaAttachment, RegisteredStore
from viewer.storage import Store


def live_in(address: str) -> None:
    """Let this application's files be in that bucket alone, as after a move that is long past."""
    row = RegisteredStore(kind=RegisteredStore.Kind.S3, address=address, is_wanted=True)
    db.session.add(row)
    db.session.commit()
    current_app.extensions["files_are_in"] = row.id
    holdings.store(row.id).mark(str(row.id))


def own_id() -> uuid.UUID:
    """The store in which this application's files are: its folder, but for `live_in`."""
    found: uuid.UUID | None = current_app.extensions.get("files_are_in")
    return found or holdings.own_id()


def own() -> Store:
    return holdings.store(own_id())


def leave_folder() -> None:
    """What was just pushed is in the bucket alone: nothing may go on relying on the folder."""
    if "files_are_in" in current_app.extensions:
        moved = MediaAttachment.former_storage.is_not(None)
        ids = db.session.scalars(sa.select(MediaAttachment.id).where(moved)).all()
        db.session.commit()
        for one in ids:
            holdings.clear_former(one, now() + timedelta(days=1))
