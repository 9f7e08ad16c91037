"""Open a backup target: a store of its own, whose marker names it and the viewer it belongs to.

TargetError
  Refused        it must not be used; nothing was written
  LostTarget     it failed or went away while it was used
"""

import errno
import os
import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from viewer.config import Settings, settings
from viewer.extensions import db
from viewer.failpoint import failpoint
from viewer.models import RegisteredStore, UpkeepRun
from viewer.storage import (
    Spool,
    StorageError,
    Store,
    Unavailable,
    UnknownStore,
    Workspace,
    from_url,
    fsync_folder,
)

MARKER = ".viewer-backup"
_MARK = re.compile(r"target (?P<target>[0-9a-f-]{36}) of viewer (?P<viewer>[0-9a-f-]{36})")

_WORDS = {
    errno.ENOSPC: "The target is full.",
    errno.EDQUOT: "The target is full (quota).",
    errno.EROFS: "The target is read-only.",
    errno.EIO: "The disk of the target reports errors.",
    errno.EACCES: "This user must not write to the target.",
    errno.EPERM: "This user must not write to the target.",
}


class TargetError(Exception):
    """The target cannot be used; the message is a sentence for the operator."""


class Refused(TargetError):
    """The target must not be used. Nothing was written."""


class LostTarget(TargetError):
    """The target failed, or is not there any more."""


@dataclass(frozen=True, slots=True)
class Target:
    """A place for backups."""

    url: str  # the subject of its runs
    id: uuid.UUID
    viewer: uuid.UUID
    store: Store
    spool: Spool  # where its files are written before they get their names
    folder: Path | None  # None where it is not on a file system

    def free(self) -> int | None:
        """The bytes for which it has room; None where nobody knows."""
        return shutil.disk_usage(self.folder).free if self.folder else None

    def forget_folder(self, prefix: str) -> None:
        """Remove what is left of a folder whose files are gone. Elsewhere there are no folders."""
        if self.folder is not None:
            try:
                (self.folder / prefix).rmdir()
            except OSError:
                return  # it is harmless

    def describe(self, trouble: StorageError) -> str:
        """What the store said, in the words of a target."""
        if isinstance(trouble.__cause__, OSError):
            reason = trouble.__cause__
            return _WORDS.get(reason.errno or 0) or f"The target failed ({reason.strerror})."
        if self.store.is_away():
            return "The target is not there any more: is its disk mounted?"
        return f"The target failed: {trouble}"


def normalise(url: str) -> str:
    """The address in the form in which runs name it. Raises UnknownStore."""
    if url.startswith("/"):
        url = f"folder:{url}"
    scheme, _, place = url.partition(":")
    if scheme != "folder":
        raise UnknownStore(f"This version backs up to folder: only, not to {scheme}:")
    if not Path(place).is_absolute():
        raise UnknownStore(f"{url} names no absolute path.")
    return f"folder:{Path(place)}"


def open_target(url: str) -> Target:
    """A target that is in use already, whichever viewer's it is: a restore knows no other yet.

    Raises TargetError, UnknownStore.
    """
    url = normalise(url)
    found = _read_marker(_store_at(url), url)
    if found is None:
        raise Refused(f"{url} is no backup: it has no {MARKER}. Is its disk mounted?")
    return _target(url, *found)


def open_own(url: str, *, same_filesystem: bool = False) -> Target | None:
    """The target, if it is this viewer's; None if it is empty, and was never used. Writes nothing.

    Raises TargetError, UnknownStore.
    """
    url = normalise(url)
    store = _store_at(url)
    _check_place(_folder_of(url), settings(), same_filesystem=same_filesystem)
    found, viewer = _read_marker(store, url), viewer_identity()
    if found is None:
        _must_be_unused(store, url)
        return None
    if found[1] != viewer:
        raise Refused(f"{url} holds the backups of another viewer.")
    return _target(url, *found)


def mark(url: str) -> Target:
    """Make an empty place a target of this viewer. Raises TargetError."""
    url = normalise(url)
    store, target, viewer = _store_at(url), uuid.uuid4(), viewer_identity()
    folder = _folder_of(url)
    try:
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True)  # customers' messages will lie in it
            fsync_folder(folder.parent)
        store.mark(_marker_of(target, viewer))
    except OSError as trouble:
        raise LostTarget(f"{url} cannot be made: {trouble.strerror}.") from trouble
    except Unavailable as trouble:
        raise LostTarget(_target(url, target, viewer).describe(trouble)) from trouble
    failpoint("backup.marked")
    return _target(url, target, viewer)


def viewer_identity() -> uuid.UUID:
    """What tells this viewer's database from another's: the id of its first store. Commits."""
    found = db.session.scalar(
        sa.select(RegisteredStore.id).order_by(RegisteredStore.created_at, RegisteredStore.id)
    )
    db.session.commit()
    if found is None:
        raise Refused("This viewer has no media folder yet: viewer up makes it.")
    return found


def _store_at(url: str) -> Store:
    return from_url(url, marker=MARKER)


def _folder_of(url: str) -> Path:
    return Path(url.removeprefix("folder:"))


def _target(url: str, target: uuid.UUID, viewer: uuid.UUID) -> Target:
    store, folder = _store_at(url), _folder_of(url)
    store.expect(_marker_of(target, viewer))
    # Its files get their names by hard links: they are written on its own disk.
    return Target(url, target, viewer, store, Workspace(folder, store), folder)


def _marker_of(target: uuid.UUID, viewer: uuid.UUID) -> str:
    return f"target {target} of viewer {viewer}"


def _read_marker(store: Store, url: str) -> tuple[uuid.UUID, uuid.UUID] | None:
    try:
        words = store.identity()
    except Unavailable as trouble:
        reason = getattr(trouble.__cause__, "strerror", None) or trouble
        raise LostTarget(f"{url} cannot be read: {reason}.") from trouble
    if words is None:
        return None
    found = _MARK.fullmatch(words)
    if found is None:
        raise Refused(f"{url} has a {MARKER} that this version does not understand.")
    return uuid.UUID(found["target"]), uuid.UUID(found["viewer"])


def _must_be_unused(store: Store, url: str) -> None:
    """Raises Refused for a place with files, and for a mount point without its disk."""
    run = UpkeepRun
    was_used = db.session.scalar(
        sa.select(run.id)
        .where(run.kind == run.Kind.BACKUP, run.subject == url)
        .where(run.counts["target"].as_string().is_not(None))
        .limit(1)
    )
    db.session.commit()
    if was_used is not None:
        raise Refused(
            f"{url} has no {MARKER}, and backups were made there before: is its disk mounted? "
            "For a new disk, name a new folder in it."
        )
    try:
        is_empty = store.is_empty()
    except Unavailable as trouble:
        reason = getattr(trouble.__cause__, "strerror", None) or trouble
        raise LostTarget(f"{url} cannot be read: {reason}.") from trouble
    if not is_empty:
        raise Refused(f"{url} is not empty and no backup: name an empty folder.")


def _check_place(folder: Path, current: Settings, *, same_filesystem: bool) -> None:
    """Raises Refused where one broken disk would take both: the original and its backup."""
    ours = {"DATA_DIR": current.data_dir, "MEDIA_ROOT": current.media_root}
    database = make_url(current.database_url)
    if database.get_backend_name() == "sqlite" and not (database.database or "").startswith("file"):
        ours["DATABASE_URL"] = Path(database.database or "").parent
    folder = folder.resolve()
    for name in ("MEDIA_ROOT", "DATA_DIR"):
        place = ours[name].resolve()
        if folder.is_relative_to(place) or place.is_relative_to(folder):
            raise Refused(f"{folder} and {name} ({place}) lie in each other.")
    for name, path in ours.items():
        if not same_filesystem and _device_of(folder) == _device_of(path.resolve()):
            raise Refused(
                f"{folder} is on the same file system as {name} ({path}): one broken disk would"
                " take both. Is the disk of the backup mounted? --same-filesystem does it anyway."
            )


def _device_of(path: Path) -> int:
    while not path.exists():
        path = path.parent
    return os.stat(path).st_dev  # noqa: PTH116 - as os says it: of what is mounted there
