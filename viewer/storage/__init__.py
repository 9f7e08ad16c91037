"""Where bytes live. Knows no rows: the caller chooses keys, the same for a file in every store.

StorageError
  Missing       there is nothing under this key
  Occupied      there is something under this key already; nothing is ever replaced
  Unavailable   the store cannot take or give bytes now (full, read-only, gone); try again later
  UnknownStore  the address names no store that this version can use
"""

from pathlib import Path

from viewer.storage.checksums import Checksum, checksum
from viewer.storage.disk import fsync_file, fsync_folder
from viewer.storage.folder import Folder
from viewer.storage.store import (
    Missing,
    Occupied,
    Opened,
    Stat,
    StorageError,
    Store,
    Unavailable,
    UnknownStore,
)
from viewer.storage.workspace import Part, Spool, Workspace, decoder_workspace, make_durable

__all__ = [
    "Checksum",
    "Missing",
    "Occupied",
    "Opened",
    "Part",
    "Spool",
    "Stat",
    "StorageError",
    "Store",
    "Unavailable",
    "UnknownStore",
    "Workspace",
    "checksum",
    "decoder_workspace",
    "from_url",
    "fsync_file",
    "fsync_folder",
    "make_durable",
]


def from_url(url: str, internal_location: str = "") -> Store:
    """The store at an address such as `folder:/srv/photos`. Raises UnknownStore.

    `internal_location`: where the reverse proxy serves its files by itself, if it does.
    """
    scheme, separator, place = url.partition(":")
    if not separator:
        raise UnknownStore("A store's address begins with folder: and an absolute path.")
    if scheme != "folder":
        raise UnknownStore(f"This version keeps files in folder: only, not in {scheme}:")
    path = Path(place)
    if not path.is_absolute():
        raise UnknownStore(f"{url} names no absolute path.")
    return Folder(path, internal_location)
