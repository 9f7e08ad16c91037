"""Put files into the target's pool: hashed on their way, never in the place of another.

SourceAway   the store of the originals does not answer, which says nothing about the file
"""

import enum
import hashlib
import logging
from dataclasses import dataclass

from viewer import holdings
from viewer.extensions import db
from viewer.failpoint import failpoint
from viewer.holdings import WrongSize
from viewer.models import MediaAttachment
from viewer.office import trash
from viewer.storage import Missing, Occupied, Opened, Part, StorageError, Unavailable
from viewer.upkeep.backup.listing import File
from viewer.upkeep.backup.snapshots import POOL
from viewer.upkeep.backup.targets.target import Target

log = logging.getLogger(__name__)

_CHUNK = 1024 * 1024  # bytes


class SourceAway(Exception):
    """The store of the originals does not answer."""


class Step(enum.StrEnum):
    COPIED = "copied"
    TRUSTED = "trusted"  # it lay in the pool already, and its bytes are right
    WRONG = "wrong"  # the bytes at the source are not those that came: not copied
    GONE = "gone"  # not at the source
    PURGED = (
        "purged"  # a person deleted it for good since the snapshot, and its quarantine is empty
    )
    DENIED = "denied"  # other bytes have its name, and the target lets nothing be removed


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file."""

    step: Step
    sha256: str = ""
    size: int = 0  # bytes that were written
    has_replaced: bool = False  # wrong bytes of the pool went to its quarantine


def bring(target: Target, number: int, file: File) -> Outcome:
    """See that the file is in the pool with its bytes. Raises SourceAway, Unavailable.

    `number` names the snapshot whose run set wrong bytes of the pool aside.
    """
    if file.is_in_pool and hash_in_pool(target, file) == file.sha256:
        target.store.settle(POOL + file.key)
        return Outcome(Step.TRUSTED, file.sha256 or "")
    part = target.spool.new_part()
    try:
        try:
            sha256, size = _fill(part, file)
        except (Missing, WrongSize) as trouble:
            return Outcome(_why(file, trouble))
        if file.sha256 is not None and sha256 != file.sha256:
            log.error("media=%s has other bytes than came: not backed up", file.media)
            return Outcome(Step.WRONG)
        part.seal()
        failpoint("backup.sealed")
        has_replaced = _place(target, number, file, part, sha256)
        if has_replaced is None:
            return Outcome(Step.DENIED)
        failpoint("backup.placed")
        return Outcome(Step.COPIED, sha256, size, has_replaced)
    finally:
        part.discard()


def hash_in_pool(target: Target, file: File) -> str | None:
    """Raises Unavailable."""
    try:
        return target.sha256(POOL + file.key)
    except Missing:
        return None


def set_wrong_aside(target: Target, number: int, file: File) -> None:
    """Put wrong bytes of the pool into its quarantine: there are no right ones to replace them.

    So the next run asks the source again, and does not promise what it cannot keep. Raises
    Unavailable.
    """
    found = hash_in_pool(target, file)
    if found is None or found == file.sha256:
        return
    try:
        _set_aside(target, number, POOL + file.key, found)
    except StorageError as trouble:
        log.warning("%s stays in %s: %s", file.key, target.url, trouble)


def _fill(part: Part, file: File) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with _open_source(file) as source:
        while chunk := _read(source):
            digest.update(chunk)
            size += len(chunk)
            part.write(chunk)
    return digest.hexdigest(), size


def _read(source: Opened) -> bytes:
    try:
        return source.read(_CHUNK)
    except Unavailable as trouble:
        raise SourceAway(str(trouble)) from trouble


def _open_source(file: File) -> Opened:
    """Raises Missing, WrongSize, SourceAway."""
    row = MediaAttachment(
        id=file.media,
        file_path=file.original,
        file_size=file.size,
        storage=file.storage,
        former_storage=file.former,
    )
    try:
        try:
            return holdings.open_file(row, file.key)
        except (Missing, WrongSize):
            live = _live_row(file)
            if live is None or file.sha256 is None:
                raise
            if live.purged_at is not None:
                return holdings.store_of(live).open(trash.quarantine_key(live))
            if live.storage != file.storage:
                return holdings.open_file(live, file.key)  # it moved meanwhile
            raise
    except Unavailable as trouble:
        raise SourceAway(str(trouble)) from trouble


def _live_row(file: File) -> MediaAttachment | None:
    found = db.session.get(MediaAttachment, file.media, populate_existing=True)
    db.session.commit()
    return found


def _why(file: File, trouble: StorageError) -> Step:
    if isinstance(trouble, WrongSize):
        return Step.WRONG
    live = _live_row(file)
    return Step.PURGED if live is not None and live.purged_at is not None else Step.GONE


def _place(target: Target, number: int, file: File, part: Part, sha256: str) -> bool | None:
    """Whether wrong bytes had to make room; None if they could not."""
    key = POOL + file.key
    try:
        target.store.place(key, part.path)
    except Occupied:
        found = hash_in_pool(target, file)
        if found == sha256:
            target.store.settle(key)
            return False
        try:
            if file.sha256 is None:  # a derivative, made anew: the old one is of no use
                target.store.remove(key)
            elif found is not None:
                _set_aside(target, number, key, found)
        except Unavailable as trouble:
            if target.store.is_away():
                raise
            log.warning("%s in %s cannot be replaced: %s", key, target.url, trouble)
            return None
        target.store.place(key, part.path)
        return file.sha256 is not None
    return False


def _set_aside(target: Target, number: int, key: str, found: str) -> None:
    log.error("%s in %s has wrong bytes: they go to its quarantine", key, target.url)
    aside = f"quarantine/{number:06}-{found[:16]}/{key}"
    try:
        target.store.move(key, aside)
    except Missing:
        return
    except Occupied:  # the same wrong bytes, set aside by the same run
        target.store.remove(key)
    failpoint("backup.set_aside")
