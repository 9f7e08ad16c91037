"""The note of a restore that has begun: a hidden file in the media folder.

While it lies there no viewer starts on this folder, and only the restore that it names goes on.
"""

import json
import os
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from viewer.storage import fsync_folder

NAME = ".viewer-restore"
_NEW = f"{NAME}.new"  # while it is written


class UnreadableJournal(Exception):
    """The note cannot be read; the message is a sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Journal:
    """Which snapshot is restored here, and under which identity."""

    id: uuid.UUID  # of this restore
    target: uuid.UUID
    url: str
    snapshot: int
    store: uuid.UUID  # the folder's, as its marker says
    has_begun_database: bool = False  # whatever is in the database now came from the snapshot


def read(root: Path) -> Journal | None:
    """The note in this media folder. Raises UnreadableJournal, OSError."""
    try:
        said = json.loads((root / NAME).read_text())
        return Journal(
            uuid.UUID(said["id"]), uuid.UUID(said["target"]), str(said["url"]),
            int(said["snapshot"]), uuid.UUID(said["store"]), bool(said["has_begun_database"]),
        )  # fmt: skip
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableJournal(f"{root / NAME} cannot be read.") from error


def exists(root: Path) -> bool:
    return (root / NAME).exists()


def write(root: Path, journal: Journal) -> None:
    """Write the note, whole and durably, in the place of an earlier one. Raises OSError."""
    with (root / _NEW).open("w") as file:
        json.dump(asdict(journal), file, default=str)
        file.flush()
        os.fsync(file.fileno())
    (root / _NEW).replace(root / NAME)
    fsync_folder(root)


def remove(root: Path) -> None:
    """Raises OSError."""
    (root / NAME).unlink()
    fsync_folder(root)


def is_only_begun(root: Path) -> bool:
    """Whether nothing is in the folder but what a restore leaves that died as it began."""
    names = {path.name for path in root.iterdir()} if root.exists() else set()
    return names <= {_NEW}
