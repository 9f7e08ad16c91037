"""Where the files of a target that is elsewhere are written first: on the disk of DATA_DIR."""

import shutil
import uuid

from viewer.config import settings
from viewer.storage import Spool, Store, Workspace
from viewer.upkeep.backup.place import Refused
from viewer.upkeep.backup.progress import size_in_words

FOLDER = "backup-spool"  # in DATA_DIR


def spool_of(target: uuid.UUID, store: Store) -> Spool:
    """A folder for each target: its next run clears away what a dead one left in it."""
    # That parts are fsynced here is not needed, and costs nothing beside their way to the target.
    return Workspace(settings().data_dir / FOLDER / target.hex, store)


def check_room(size: int, url: str) -> None:
    """Raises Refused unless there is room for a copy of the database of this size."""
    free = shutil.disk_usage(settings().data_dir).free
    if free < 2 * size:  # the viewer itself lives on that disk
        raise Refused(
            f"The disk of DATA_DIR has room for {size_in_words(free)}: too little for a copy of"
            f" the database ({size_in_words(size)}) on its way to {url}."
        )
