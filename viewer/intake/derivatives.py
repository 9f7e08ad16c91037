"""Make the derivatives of a stored original: thumbnail, preview, full-size JPEG, playable copy.

Separate work with a state of its own: no failure here touches the original.
"""

import logging
import uuid
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from viewer import derive, holdings
from viewer.extensions import db, now
from viewer.failpoint import failpoint
from viewer.holdings import WrongSize
from viewer.models import MediaAttachment
from viewer.storage import (
    Missing,
    Occupied,
    StorageError,
    Store,
    decoder_workspace,
    keys,
    make_durable,
)

log = logging.getLogger(__name__)

TRIES = 3  # a file that kills its decoder three times will do so again
# The second pause is longer: it may have been the machine that was short of memory just then.
PAUSES = (timedelta(seconds=5), timedelta(minutes=2))
SLOW_DOWN = timedelta(seconds=30)
WITHOUT_ORIGINAL = timedelta(hours=1)
# Then the provider is asked for the rest of a file that came cut off (`incomplete`).
FIRST_ASK = timedelta(minutes=1)

CopyState = MediaAttachment.CopyState


def make_copies(media_id: uuid.UUID) -> bool:
    """Make the derivatives of this original. True if made now; else the row says why not.

    Raises Missing, WrongSize if the original is damaged.
    """
    media = _claim(media_id)
    if media is None:
        return False
    try:
        original = holdings.open_file(media, media.file_path)
        with decoder_workspace(holdings.spool(), original) as (source, folder):
            derived = derive.derive(
                source, media.mime_type or "", folder, limits_of(media.media_type, media.file_size)
            )
            failpoint("copies.derived")
            # What is known not to play has its facts and poster, and says why there is no player.
            state = CopyState.MADE if derived.is_playable else CopyState.IMPOSSIBLE
            values = _completeness(media, is_incomplete=derived.is_incomplete)
            return _keep(media, derived, copy_state=state, copy_due_at=None, **values)
    except derive.Unreadable as reason:
        _write(
            media,
            copy_state=CopyState.IMPOSSIBLE,
            copy_problem=str(reason)[:500],
            **_completeness(media, is_incomplete=isinstance(reason, derive.Broken)),
        )
    except derive.Killed as reason:
        log.warning("media=%s copies attempt=%d: %s", media_id, media.copy_attempts, reason)
        if media.copy_attempts >= TRIES:
            _write(media, copy_state=CopyState.IMPOSSIBLE, copy_problem=str(reason)[:500])
        else:
            pause = PAUSES[media.copy_attempts - 1]
            _write(media, copy_problem=str(reason)[:500], copy_due_at=now() + pause)
    except (Missing, WrongSize):
        # They are made once the original is repaired; until then it is looked for now and then.
        _write(media, copy_attempts=media.copy_attempts - 1, copy_due_at=now() + WITHOUT_ORIGINAL)
        raise
    except (StorageError, derive.NoRoom) as trouble:
        # Not the file's fault: this try does not count.
        _write(
            media,
            copy_attempts=media.copy_attempts - 1,
            copy_problem=str(trouble)[:500],
            copy_due_at=now() + SLOW_DOWN,
        )
    return False


def retry(media_id: uuid.UUID) -> bool:
    """Make them as if for the first time: a person asked. Whether they could not be made before.

    The caller commits, and reminds.
    """
    return _make_due(media_id, CopyState.IMPOSSIBLE)


def make_again(media_id: uuid.UUID) -> bool:
    """Make derivatives due that are missing from the store. Whether it did. Does not commit."""
    return _make_due(media_id, CopyState.MADE, CopyState.IMPOSSIBLE)


def _make_due(media_id: uuid.UUID, *states: MediaAttachment.CopyState) -> bool:
    return MediaAttachment.change_if(
        media_id,
        MediaAttachment.state == MediaAttachment.State.STORED,
        MediaAttachment.copy_state.in_(states),
        copy_state=CopyState.DUE,
        copy_due_at=now(),
        copy_attempts=0,
        copy_problem=None,
    )


def _keep(media: MediaAttachment, derived: derive.Derived, **values: object) -> bool:
    """Place the derivatives in the store of the original, and say so. Whether they are named now.

    The row may move meanwhile: then they are placed once more, where it is now.
    """
    while True:
        placed = _place_derivatives(holdings.store_of(media), media, derived)
        failpoint("copies.placed")
        still_there = MediaAttachment.storage == media.storage
        if _write(media, still_there, **values, **placed):
            return values.get("copy_state") is CopyState.MADE
        storage = media.storage
        db.session.refresh(media)
        db.session.commit()
        if media.storage == storage:
            return False  # another run has the row


def _completeness(media: MediaAttachment, *, is_incomplete: bool) -> dict[str, object]:
    """The column values that say whether the file came whole, and when to ask for the rest."""
    trouble = MediaAttachment.Trouble
    is_known = media.trouble is trouble.INCOMPLETE
    if not is_incomplete:
        # Better code may find whole what seemed cut: then nobody asks for the rest any more.
        ends = {"next_attempt_at": None, "problem": None} if is_known else {}
        return {"trouble": None, **ends}
    if is_known:  # the asking goes on as it is
        return {}
    asks = {"next_attempt_at": now() + FIRST_ASK, "failures": 0} if media.openphone_url else {}
    return {"trouble": trouble.INCOMPLETE, **asks}


def limits_of(media_type: MediaAttachment.MediaType, size: int | None) -> derive.Limits:
    return derive.limits_of(media_type.value, size)


def _lease(media_id: uuid.UUID) -> timedelta:
    of_file = sa.select(MediaAttachment.media_type, MediaAttachment.file_size)
    row = db.session.execute(of_file.where(MediaAttachment.id == media_id)).first()
    limits = limits_of(row.media_type, row.file_size) if row else derive.Limits()
    return timedelta(seconds=limits.wall_seconds + 15)


def _claim(media_id: uuid.UUID) -> MediaAttachment | None:
    """Claim the row if its derivatives are due. After TRIES attempts, give up instead."""
    media = MediaAttachment
    moment = now()
    due = (
        sa.update(media)
        .where(media.id == media_id, media.is_due_to_derive(moment))
        .execution_options(synchronize_session=False)
    )
    gave_up = db.session.execute(
        due.where(media.copy_attempts >= TRIES).values(
            copy_state=CopyState.IMPOSSIBLE,
            copy_problem=sa.func.coalesce(
                media.copy_problem, "The decoder died without a word, three times."
            ),
        )
    )
    claimed = db.session.execute(
        due.values(
            copy_attempts=media.copy_attempts + 1,
            # A lease, a little longer than the child may live: then somebody else may try.
            copy_due_at=moment + _lease(media_id),
        )
    )
    if gave_up.rowcount:  # type: ignore[attr-defined]
        log.warning("media=%s: its copies are given up after %d tries", media_id, TRIES)
    row = db.session.get(media, media_id, populate_existing=True) if claimed.rowcount else None  # type: ignore[attr-defined]
    db.session.commit()
    return row


def _write(media: MediaAttachment, *conditions: sa.ColumnElement[bool], **values: object) -> bool:
    done = MediaAttachment.change_if(
        media.id,
        MediaAttachment.copy_attempts == media.copy_attempts,
        MediaAttachment.copy_state == CopyState.DUE,
        *conditions,
        **values,
    )
    db.session.commit()
    return done


def _place_derivatives(
    store: Store, media: MediaAttachment, derived: derive.Derived
) -> dict[str, object]:
    """Place the derivatives beside the original. Returns the column values of the row."""

    def put(path: Path | None, name: str, extension: str = "jpg") -> str | None:
        if path is None:
            return None
        key = keys.derivative(media.file_path, name, extension)
        make_durable(path)  # the row will say that it is there, also after a power cut
        try:
            store.place(key, path)
        except Occupied:  # made by an earlier run; copies, unlike originals, may be made anew
            store.remove(key)
            store.place(key, path)
        return key

    return {
        "thumbnail_path": put(derived.thumbnail, "thumbnail"),
        "preview_path": put(derived.preview, "preview"),
        "full_path": put(derived.full, "full"),
        "playable_path": put(
            derived.playable,
            "playable",
            derived.playable.suffix.removeprefix(".") if derived.playable else "",
        ),
        "width": derived.width,
        "height": derived.height,
        "duration_seconds": derived.duration_seconds or media.duration_seconds,
        "placeholder": derived.placeholder,
        "peaks": derived.peaks,
        "mime_type": derived.mime_type,
        "media_type": MediaAttachment.MediaType(derived.media_type),
        "copy_problem": " ".join(filter(None, (_incomplete(derived), derived.problem))) or None,
    }


def _incomplete(derived: derive.Derived) -> str:
    if not derived.is_incomplete:
        return ""
    plays = derived.media_type in ("audio", "video") and derived.is_playable
    return f"The file is incomplete: {'it plays as far as it goes' if plays else 'it ends early'}."
