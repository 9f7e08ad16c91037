"""Where the files of a target that is elsewhere are written first: on a disk of this host."""

import os
import shutil
import stat
import tempfile
import uuid
from pathlib import Path

from viewer.config import settings
from viewer.storage import Spool, Store, Workspace
from viewer.upkeep.backup.targets.place import Refused
from viewer.upkeep.progress import size_in_words

FOLDER = "backup-spool"  # in DATA_DIR


def folder() -> Path:
    """For this user alone. The same each time: what a dead run left is found. Raises Refused."""
    data_dir = settings().data_dir
    found = data_dir / FOLDER
    if not os.access(data_dir, os.W_OK):  # the backup has a user of its own
        found = Path(tempfile.gettempdir()) / f"viewer-backup-{os.getuid()}"
    try:
        found.mkdir(mode=0o700, exist_ok=True)
        made = found.lstat()
    except OSError as trouble:
        raise Refused(f"{found} cannot be made: {trouble.strerror}.") from trouble
    if not stat.S_ISDIR(made.st_mode) or made.st_uid != os.getuid():
        raise Refused(f"{found} belongs to another user.")
    return found


def spool_of(target: uuid.UUID, store: Store) -> Spool:
    """A folder for each target: its next run clears away what a dead one left in it."""
    # That parts are fsynced here is not needed, and costs nothing beside their way to the target.
    return Workspace(folder() / target.hex, store)


def check_room(size: int, url: str) -> None:
    """Raises Refused unless there is room for a copy of the database of this size."""
    free = shutil.disk_usage(folder()).free
    if free < 2 * size:  # the viewer itself lives on that disk
        raise Refused(
            f"The disk of {folder()} has room for {size_in_words(free)}: too little for a copy of"
            f" the database ({size_in_words(size)}) on its way to {url}."
        )
