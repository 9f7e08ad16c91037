"""Where bytes live. Knows no rows: keys come from the caller, and the same key names a file in every store.

StorageError
  Missing      there is nothing under this key
  Occupied     there is something under this key already; nothing is ever replaced
  Unavailable  the store cannot take or give bytes now (full, read-only, not mounted); try again later
"""

from viewer.storage.folder import Folder
from viewer.storage.store import Missing, Occupied, Part, Stat, StorageError, Store, Unavailable

__all__ = [
    "Folder",
    "Missing",
    "Occupied",
    "Part",
    "Stat",
    "StorageError",
    "Store",
    "Unavailable",
]
