"""Open a backup target: a store of its own, whose marker names it and the viewer it belongs to."""

import re
import uuid
from dataclasses import dataclass

import sqlalchemy as sa

from viewer.config import settings
from viewer.extensions import db
from viewer.failpoint import failpoint
from viewer.models import RegisteredStore, UpkeepRun
from viewer.storage import Spool, StorageError, Store, Unavailable, from_url
from viewer.storage import normalise as normalise
from viewer.upkeep import runs
from viewer.upkeep.backup.targets.bucket_place import BucketPlace
from viewer.upkeep.backup.targets.folder_place import FolderPlace
from viewer.upkeep.backup.targets.place import MARKER, LostTarget, Place, Refused, TargetError
from viewer.upkeep.backup.targets.ssh_place import SSHPlace

__all__ = [
    "MARKER",
    "LostTarget",
    "Refused",
    "Target",
    "TargetError",
    "mark",
    "normalise",
    "open_own",
    "open_target",
    "viewer_identity",
]

_MARK = re.compile(r"target (?P<target>[0-9a-f-]{36}) of viewer (?P<viewer>[0-9a-f-]{36})")


@dataclass(frozen=True, slots=True)
class Target:
    """A place that holds this viewer's backups, or another's."""

    id: uuid.UUID
    viewer: uuid.UUID
    place: Place
    spool: Spool  # where its files are written before they get their names

    @property
    def url(self) -> str:
        """The subject of its runs."""
        return self.place.url

    @property
    def store(self) -> Store:
        return self.place.store

    def check_spool(self, size: int) -> None:
        """Raises Refused unless a file of this size may lie in the spool for a while."""
        self.place.check_spool(size)

    def free(self) -> int | None:
        """The bytes for which it has room; None where nobody knows."""
        return self.place.free()

    def tidy(self) -> None:
        """Clear away what dead runs left half-written. Only under the lease."""
        self.spool.tidy(older_than=0)
        self.place.tidy()

    def sha256(self, key: str) -> str:
        """The SHA-256 of all bytes of a file, as they are now. Raises Missing, Unavailable."""
        return self.place.sha256(key)

    def forget_empty_folders(self, prefix: str) -> None:
        """Remove the folder, and those in it, if they are empty; where there are folders."""
        self.place.forget_empty_folders(prefix)

    def describe(self, trouble: StorageError) -> str:
        """What the store said, in the words of a target."""
        return self.place.describe(trouble)


def open_target(url: str) -> Target:
    """A target that is in use already, whichever viewer's it is: a restore knows no other yet.

    Raises TargetError, UnknownStore.
    """
    place = _place_at(normalise(url))
    found = _read_marker(place)
    if found is None:
        raise Refused(f"{place.url} is no backup: it has no {MARKER}. {_question(place)}")
    return _target(place, *found)


def open_own(url: str, *, same_filesystem: bool = False) -> Target | None:
    """The target, if it is this viewer's; None if it is empty, and was never used.

    Writes nothing but the objects of a probe. Raises TargetError, UnknownStore.
    """
    place = _place_at(normalise(url))
    place.check(same_filesystem=same_filesystem)
    found, viewer = _read_marker(place), viewer_identity()
    if found is None:
        _must_be_unused(place)
        return None
    if found[1] != viewer:
        raise Refused(f"{place.url} holds the backups of another viewer.")
    target = _target(place, *found)
    # Each day's first run probes; where deletes are denied, each probe leaves its objects.
    if not runs.was_good_today(runs.Kind.BACKUP, place.url):
        place.probe()
    return target


def mark(url: str) -> Target:
    """Make an empty place a target of this viewer. Raises TargetError."""
    place = _place_at(normalise(url))
    target, viewer = uuid.uuid4(), viewer_identity()
    place.probe()
    try:
        place.make()
        place.store.mark(marker_of(target, viewer))
    except OSError as trouble:
        raise LostTarget(f"{place.url} cannot be made: {trouble.strerror}.") from trouble
    except Unavailable as trouble:
        place.store.expect(marker_of(target, viewer))
        raise LostTarget(place.describe(trouble)) from trouble
    failpoint("backup.marked")
    return _target(place, target, viewer)


def viewer_identity() -> uuid.UUID:
    """What tells this viewer's database from another's: the id of its first store. Commits."""
    found = db.session.scalar(
        sa.select(RegisteredStore.id).order_by(RegisteredStore.created_at, RegisteredStore.id)
    )
    db.session.commit()
    if found is None:
        raise Refused("This viewer has no media folder yet: viewer up makes it.")
    return found


def _place_at(url: str) -> Place:
    if url.startswith("s3:"):
        key = settings().backup_s3_credentials
        return BucketPlace(url, from_url(url, marker=MARKER, credentials=key))
    if url.startswith("ssh:"):
        return SSHPlace(url)
    if url.startswith("restic:"):
        raise Refused(f"{url} is read and pruned by restic itself: see docs/operations.md.")
    return FolderPlace(url, from_url(url, marker=MARKER))


def _target(place: Place, target: uuid.UUID, viewer: uuid.UUID) -> Target:
    place.store.expect(marker_of(target, viewer))
    return Target(target, viewer, place, place.spool(target))


def marker_of(target: uuid.UUID, viewer: uuid.UUID) -> str:
    return f"target {target} of viewer {viewer}"


def _read_marker(place: Place) -> tuple[uuid.UUID, uuid.UUID] | None:
    try:
        words = place.store.identity()
    except Unavailable as trouble:
        raise LostTarget(f"{place.url} cannot be read: {place.reason(trouble)}.") from trouble
    if words is None:
        return None
    found = _MARK.fullmatch(words)
    if found is None:
        raise Refused(f"{place.url} has a {MARKER} that this version does not understand.")
    return uuid.UUID(found["target"]), uuid.UUID(found["viewer"])


def _question(place: Place) -> str:
    question = place.why_lost.partition("?")[0]
    return f"{question[0].upper()}{question[1:]}?"


def _must_be_unused(place: Place) -> None:
    """Raises Refused for a place with files, and for a mount point without its disk."""
    run = UpkeepRun
    was_used = db.session.scalar(
        sa.select(run.id)
        .where(run.kind == run.Kind.BACKUP, run.subject == place.url)
        .where(run.counts["target"].as_string().is_not(None))
        .limit(1)
    )
    db.session.commit()
    if was_used is not None:
        raise Refused(
            f"{place.url} has no {MARKER}, and backups were made there before: {place.why_lost}"
        )
    try:
        is_empty = place.store.is_empty()
    except Unavailable as trouble:
        raise LostTarget(f"{place.url} cannot be read: {place.reason(trouble)}.") from trouble
    if not is_empty:
        raise Refused(f"{place.url} is not empty and no backup: name {place.empty}.")
