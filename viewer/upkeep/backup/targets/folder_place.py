"""A target in a folder: on a disk of its own, not on one that holds what is backed up."""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy.engine import make_url

from viewer.config import Settings, settings
from viewer.storage import Spool, StorageError, Store, Workspace, checksum, fsync_folder
from viewer.upkeep.backup.targets.place import Refused

_WORDS = {
    errno.ENOSPC: "The target is full.",
    errno.EDQUOT: "The target is full (quota).",
    errno.EROFS: "The target is read-only.",
    errno.EIO: "The disk of the target reports errors.",
    errno.EACCES: "This user must not write to the target.",
    errno.EPERM: "This user must not write to the target.",
    errno.EOPNOTSUPP: "The file system of the target cannot name a file without replacing another.",
}


class FolderPlace:
    """A folder of this host."""

    empty = "an empty folder"
    why_lost = "is its disk mounted? For a new disk, name a new folder in it."

    def __init__(self, url: str, store: Store) -> None:
        self.url = url
        self.store = store
        self._folder = Path(url.removeprefix("folder:"))
        # Its files get their names by hard links: they are written on its own disk.
        self._spool = Workspace(self._folder, store)

    def check(self, *, same_filesystem: bool) -> None:
        check_place(self._folder, settings(), same_filesystem=same_filesystem)

    def probe(self) -> None:
        """What a file system promises is known."""

    def make(self) -> None:
        if not self._folder.exists():
            self._folder.mkdir(mode=0o700, parents=True)  # customers' messages will lie in it
            fsync_folder(self._folder.parent)

    def spool(self, target: uuid.UUID) -> Spool:
        return self._spool

    def tidy(self) -> None:
        """All that is half-written is in the spool."""

    def check_spool(self, size: int) -> None:
        """The spool is in the target, whose room is asked for anyway."""

    def free(self) -> int | None:
        return shutil.disk_usage(self._folder).free

    def forget_empty_folders(self, prefix: str) -> None:
        folder = self._folder / prefix
        for path in [*folder.glob("*"), folder]:
            with contextlib.suppress(OSError):  # it is not empty, or harmless
                path.rmdir()

    def sha256(self, key: str) -> str:
        return checksum(self.store.open(key)).sha256

    def reason(self, trouble: StorageError) -> str:
        return str(getattr(trouble.__cause__, "strerror", None) or trouble)

    def describe(self, trouble: StorageError) -> str:
        if isinstance(trouble.__cause__, OSError):
            reason = trouble.__cause__
            return _WORDS.get(reason.errno or 0) or f"The target failed ({reason.strerror})."
        if self.store.is_away():
            return "The target is not there any more: is its disk mounted?"
        return f"The target failed: {trouble}"


def check_place(folder: Path, current: Settings, *, same_filesystem: bool) -> None:
    """Raises Refused where one broken disk would take both: the original and its backup."""
    ours = places_of_ours(current)
    folder = folder.resolve()
    for name in ("MEDIA_ROOT", "DATA_DIR"):
        place = ours[name].resolve()
        if folder.is_relative_to(place) or place.is_relative_to(folder):
            raise Refused(f"{folder} and {name} ({place}) lie in each other.")
    if not same_filesystem:
        check_device(_device_of(folder), folder, ours)


def check_device(device: int, folder: Path, ours: Mapping[str, Path]) -> None:
    """Raises Refused where this device, that of the folder, is one of ours."""
    for name, path in ours.items():
        if device == _device_of(path.resolve()):
            raise Refused(
                f"{folder} is on the same file system as {name} ({path}): one broken disk would"
                " take both. Is the disk of the backup mounted? --same-filesystem does it anyway."
            )


def places_of_ours(current: Settings) -> dict[str, Path]:
    """The folders with what is backed up, by the settings that name them."""
    ours = {"DATA_DIR": current.data_dir, "MEDIA_ROOT": current.media_root}
    database = make_url(current.database_url)
    if database.get_backend_name() == "sqlite" and not (database.database or "").startswith("file"):
        ours["DATABASE_URL"] = Path(database.database or "").parent
    return ours


def _device_of(path: Path) -> int:
    while not path.exists():
        path = path.parent
    return os.stat(path).st_dev  # noqa: PTH116 - as os says it: of what is mounted there
