"""A target from which `viewer restore` can read: a repository of restic is unpacked first."""

import shutil

from viewer.config import settings
from viewer.extensions import db
from viewer.storage import StorageError
from viewer.upkeep import runs
from viewer.upkeep.backup.restic import repository as restic
from viewer.upkeep.backup.snapshots import POOL
from viewer.upkeep.backup.targets.place import LostTarget
from viewer.upkeep.drill.scratch import DrillFailed, Scratch
from viewer.upkeep.progress import size_in_words


def readable(scratch: Scratch, url: str) -> tuple[str, int | None]:
    """The address of a target, and the number of its only snapshot if it was unpacked.

    Raises DrillFailed, TargetError, OSError.
    """
    if not restic.is_repository(url):
        return url, None
    verified = runs.latest(runs.Kind.BACKUP, url, runs.Outcome.GOOD)
    db.session.commit()
    if verified is None or verified.snapshot is None:
        raise DrillFailed(f"{url} has no verified snapshot.")
    needed, free = int(verified.counts["bytes"]), shutil.disk_usage(scratch.folder).free
    if free < needed:
        has, needs = size_in_words(free), size_in_words(needed)
        raise DrillFailed(f"DATA_DIR has room for {has}, and restic restores {needs}.")
    repository = restic.open_repository(url, same_filesystem=True)
    folder = scratch.folder / "restic"
    try:
        repository.restore(verified.counts["restic"], folder)
    except StorageError as trouble:
        raise LostTarget(repository.describe(trouble)) from trouble
    # It is where it was on the disk of the originals.
    there = folder / settings().media_root.resolve().relative_to("/")
    if there.exists():
        there.rename(folder / POOL)
    return f"folder:{folder}", verified.snapshot
