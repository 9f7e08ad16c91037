"""Erase the bytes that no row names any more, from the stores that this host reaches.

Twice: a worker may have been at a file when its row went, and place it a moment later.
"""

import logging
import uuid
from datetime import timedelta

import sqlalchemy as sa

from viewer import holdings, quo
from viewer.extensions import Lock, db, lock, now, one_query
from viewer.failpoint import failpoint
from viewer.models import (
    Erasure,
    Forgetting,
    ForgottenNumber,
    MediaAttachment,
    RegisteredStore,
)
from viewer.office import sharing
from viewer.storage import StorageError, keys

log = logging.getLogger(__name__)

LOOK_AGAIN = timedelta(minutes=30)  # no worker is at one file for longer
AFTER_TROUBLE = timedelta(minutes=10)
AT_ONCE = 500  # files

State = Forgetting.State


def clear() -> int:
    """Erase what is due; how many files. Commits after each. Idempotent.

    Raises StorageError where a file of others, whose name tells this customer's number, cannot be
    given another one.
    """
    _rename_files_of_others()
    count, troubled = 0, set[uuid.UUID]()
    while due := _due(troubled):
        for row in due:
            try:
                is_whole = _erase(row)
            except StorageError as trouble:
                log.warning("erasure=%s waits: %s", row.id, trouble)
                troubled.add(row.storage)
                _put_off(row)
                continue
            _note(row, is_whole=is_whole)
            count += 1
            failpoint("forget.removed")
    if _is_open():
        try:
            sharing.tidy()  # clean copies of files without a row
        except StorageError as trouble:
            log.warning("clean copies wait to be erased: %s", trouble)
            return count
    _finish()
    return count


def _is_open() -> bool:
    with one_query() as connection:
        is_open = sa.exists().where(Forgetting.state == State.CLEARING)
        return bool(connection.scalar(sa.select(is_open)))


def _due(troubled: set[uuid.UUID]) -> list[Erasure]:
    stores, own = RegisteredStore, holdings.own_id()
    reached = sa.select(stores.id).where(
        (stores.id == own) | (stores.kind != stores.Kind.FOLDER), stores.retired_at.is_(None)
    )
    lost = sa.select(stores.id).where(stores.retired_at.is_not(None))
    query = (
        sa.select(Erasure)
        .where(Erasure.storage.in_(reached), Erasure.due_at <= now())
        .where(Erasure.storage.not_in(troubled))
        .order_by(Erasure.due_at)
        .limit(AT_ONCE)
    )
    if db.session.scalar(sa.select(Erasure.id).where(Erasure.storage.in_(lost)).limit(1)):
        db.session.execute(sa.delete(Erasure).where(Erasure.storage.in_(lost)))
    found = list(db.session.scalars(query))
    db.session.commit()  # hold no transaction while files go
    return found


def _erase(row: Erasure) -> bool:
    """Whether nothing is left, not even an earlier version. Raises StorageError."""
    store = holdings.store(row.storage)
    names = [] if _is_named(row.file_path) else keys.all_of(row.file_path)
    if row.superseded_path and not _is_named(row.superseded_path):
        names += keys.all_of(row.superseded_path)
    if row.media_id is not None:
        if row.storage == holdings.own_id() and (
            kept := holdings.spool().resume(str(row.media_id))
        ):
            kept[0].discard()  # the beginning of a download that broke off
        names += keys.put_aside(row.media_id, row.file_path)
        names += [key for key, _ in store.keys(keys.damaged_of(row.media_id))]
    is_whole = True
    for key in names:
        is_whole = store.erase(key) and is_whole
        failpoint("forget.removing")
    return is_whole


def _is_named(path: str) -> bool:
    """Whether a row has this key: the second look, at the moment of acting."""
    by_stem = sa.select(MediaAttachment.id).filter_by(file_stem=keys.stem(path).lower())
    with one_query() as connection:
        return connection.scalar(by_stem) is not None


def _note(row: Erasure, *, is_whole: bool) -> None:
    if not is_whole:
        found = db.session.get_one(Forgetting, row.forgetting_id, with_for_update=True)
        found.remark("The bucket keeps earlier versions of files until its own rules end them.")
    if row.removed_at is None:
        moment = now()
        change: sa.Update | sa.Delete = sa.update(Erasure).values(
            removed_at=moment, due_at=moment + LOOK_AGAIN
        )
    else:
        change = sa.delete(Erasure)
    db.session.execute(
        change.where(Erasure.id == row.id).execution_options(synchronize_session=False)
    )
    db.session.commit()


def _put_off(row: Erasure) -> None:
    db.session.execute(
        sa.update(Erasure)
        .where(Erasure.storage == row.storage, Erasure.due_at <= now())
        .values(due_at=now() + AFTER_TROUBLE)
        .execution_options(synchronize_session=False)
    )
    db.session.commit()


# --- Files of others -------------------------------------------------------------------------


def _rename_files_of_others() -> None:
    """What we sent to a group lies in the folder of its first number: give it another name."""
    with one_query() as connection:
        open_ones = connection.execute(
            sa.select(Forgetting.id, Forgetting.number, ForgottenNumber.pseudonym)
            .join(ForgottenNumber, ForgottenNumber.forgetting_id == Forgetting.id)
            .where(Forgetting.state == State.CLEARING)
        ).all()
    for row in open_ones:
        for media in db.session.scalars(
            sa.select(MediaAttachment).where(
                _is_in_folder(row.id, row.number), holdings.is_within_reach()
            )
        ).all():
            db.session.commit()
            _rename(media, quo.folder_name(row.pseudonym), row.id)
    db.session.rollback()


def _is_in_folder(forgetting_id: uuid.UUID, number: str) -> sa.ColumnElement[bool]:
    begun = sa.select(Forgetting.begun_at).filter_by(id=forgetting_id).scalar_subquery()
    folder = f"/{quo.folder_name(number)}/"
    return MediaAttachment.file_path.contains(folder, autoescape=True) & (
        MediaAttachment.sent_at < begun
    )


def _rename(media: MediaAttachment, folder: str, forgetting_id: uuid.UUID) -> None:
    was = media.file_path
    if holdings.rename(media, keys.in_folder(was, folder)):
        stores = db.session.scalars(sa.select(RegisteredStore.id).filter_by(retired_at=None)).all()
        db.session.add_all(
            Erasure(forgetting_id=forgetting_id, storage=store, media_id=None, file_path=was)
            for store in stores
        )
    db.session.commit()
    failpoint("forget.renamed")


def _finish() -> None:
    """Where nothing is left to be erased, drop the number itself."""
    lock(Lock.INGEST)
    for found in db.session.scalars(
        sa.select(Forgetting)
        .where(
            Forgetting.state == State.CLEARING,
            ~sa.exists().where(Erasure.forgetting_id == Forgetting.id),
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all():
        left = sa.select(MediaAttachment.id).where(_is_in_folder(found.id, found.number or ""))
        if db.session.scalar(left.limit(1)) is None:
            found.state, found.cleared_at = State.COMPACTING, now()
            found.number = found.note = None
    db.session.commit()
    failpoint("forget.cleared")
